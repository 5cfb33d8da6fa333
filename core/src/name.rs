//! Names as others may show them: what a directory or a session is called is
//! anybody's choice.

/// Longer ones are cut.
const MAX_NAME: usize = 80;

/// One short line without control characters, written in one direction.
pub(crate) fn printable(name: &str) -> String {
    let visible = |char: char| if is_harmful(char) { '\u{FFFD}' } else { char };
    let mut line: String = name.chars().take(MAX_NAME).map(visible).collect();
    if name.chars().nth(MAX_NAME).is_some() {
        line.push('…');
    }
    line
}

/// Also what turns the direction of the text around it: Unicode Standard Annex
/// 9, explicit formatting characters, and the separators of lines.
fn is_harmful(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
}
