//! What follows from big redraws in a session that shows nothing else: one
//! whose animations are off, and of which no transcript is seen. Enter and a
//! redraw send a prompt; the next big redraw that no key asked for, and the
//! silence after it, are the answer. Small ones (a counter, a clock) are not.
//!
//! ```text
//!   keys      k k k Enter
//!   redraws   . . .  #         .  .        .          #
//!                    works ........................... rests
//! ```

use std::time::Duration;

use crate::BootTime;

/// A prompt is drawn so soon after its Enter.
const SENDS_WITHIN: Duration = Duration::from_millis(500);
/// What is drawn so soon after a key or the prompt answers that.
const ANSWERS_KEY: Duration = Duration::from_millis(200);
/// After this the prompt is forgotten: nobody knows.
const LAPSE: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub(crate) struct Redraws {
    threshold: Duration,
    /// Enter, alone: in a paste it is part of the text.
    entered_at: Option<BootTime>,
    typed_at: Option<BootTime>,
    wrote_at: BootTime,
    turn: Option<Turn>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    sent_at: BootTime,
    /// The last redraw that may be the answer.
    answered_at: Option<BootTime>,
    /// The answer was followed by silence.
    is_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drawn {
    Prompt { at: BootTime },
    Answer { at: BootTime },
}

impl Redraws {
    pub(crate) fn new(threshold: Duration) -> Self {
        Self {
            threshold,
            entered_at: None,
            typed_at: None,
            wrote_at: BootTime::default(),
            turn: None,
        }
    }

    pub(crate) fn set_threshold(&mut self, threshold: Duration) {
        self.threshold = threshold;
    }

    pub(crate) fn input(&mut self, at: BootTime, enter: bool, stop: bool) {
        self.typed_at = Some(at);
        self.entered_at = enter.then_some(at);
        if stop {
            self.turn = None;
        }
    }

    pub(crate) fn output(&mut self, at: BootTime) {
        self.wrote_at = self.wrote_at.max(at);
    }

    pub(crate) fn redraw(&mut self, at: BootTime) {
        self.output(at);
        let follows = |moment: Option<BootTime>, within| {
            moment.is_some_and(|moment: BootTime| at.since(moment) <= within)
        };
        if follows(self.entered_at, SENDS_WITHIN) && !self.is_sent_since(self.entered_at) {
            self.turn = Some(Turn { sent_at: at, answered_at: None, is_over: false });
        } else if let Some(turn) = &mut self.turn
            && !turn.is_over
            && !follows(self.typed_at, ANSWERS_KEY)
            && at.since(turn.sent_at) > ANSWERS_KEY
        {
            turn.answered_at = Some(at);
        }
    }

    fn is_sent_since(&self, enter: Option<BootTime>) -> bool {
        self.turn.is_some_and(|turn| Some(turn.sent_at) >= enter)
    }

    /// Sees that an answer was followed by silence.
    pub(crate) fn expire(&mut self, now: BootTime) {
        let rest = self.rests_at();
        if let Some(turn) = &mut self.turn
            && rest.is_some_and(|rest| rest <= now)
        {
            turn.is_over = true;
        }
    }

    pub(crate) fn judge(&self, now: BootTime) -> Option<Drawn> {
        let turn = self.turn?;
        match turn.answered_at {
            Some(at) if turn.is_over => Some(Drawn::Answer { at }),
            Some(_) | None if now < turn.sent_at + LAPSE => {
                Some(Drawn::Prompt { at: turn.sent_at })
            }
            Some(_) | None => None,
        }
    }

    pub(crate) fn deadlines(&self) -> impl Iterator<Item = BootTime> {
        let lapse = self.turn.map(|turn| turn.sent_at + LAPSE);
        lapse.into_iter().chain(self.rests_at())
    }

    /// An answer that is written on is not yet all of it.
    fn rests_at(&self) -> Option<BootTime> {
        let answered_at = self.turn?.answered_at?;
        Some(self.wrote_at.max(answered_at) + self.threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    fn sent() -> Redraws {
        let mut redraws = Redraws::new(Duration::from_secs(1));
        redraws.input(ms(5_000), false, false);
        redraws.input(ms(5_500), true, false);
        redraws.redraw(ms(5_700));
        redraws
    }

    #[test]
    fn a_prompt_works_until_its_answer_rests() {
        let mut redraws = sent();
        assert_eq!(redraws.judge(ms(5_700)), Some(Drawn::Prompt { at: ms(5_700) }));
        redraws.output(ms(9_000));
        redraws.expire(ms(60_000));
        assert_eq!(redraws.judge(ms(60_000)), Some(Drawn::Prompt { at: ms(5_700) }), "a counter");
        redraws.redraw(ms(60_000));
        redraws.output(ms(60_400));
        assert!(redraws.deadlines().any(|due| due == ms(61_400)));
        redraws.expire(ms(61_399));
        assert_eq!(redraws.judge(ms(61_399)), Some(Drawn::Prompt { at: ms(5_700) }));
        redraws.expire(ms(61_400));
        assert_eq!(redraws.judge(ms(61_400)), Some(Drawn::Answer { at: ms(60_000) }));
        redraws.input(ms(70_000), false, false);
        redraws.output(ms(70_010));
        redraws.redraw(ms(70_900));
        redraws.expire(ms(70_900));
        assert_eq!(redraws.judge(ms(70_900)), Some(Drawn::Answer { at: ms(60_000) }), "typing");
    }

    #[test]
    fn redraws_that_answer_keys_are_no_answer() {
        let mut redraws = sent();
        redraws.input(ms(8_000), false, false);
        redraws.redraw(ms(8_150));
        redraws.expire(ms(20_000));
        assert_eq!(redraws.judge(ms(20_000)), Some(Drawn::Prompt { at: ms(5_700) }));
    }

    #[test]
    fn only_a_redraw_after_enter_is_a_prompt() {
        let mut redraws = Redraws::new(Duration::from_secs(1));
        redraws.redraw(ms(4_000));
        redraws.input(ms(5_000), true, false);
        redraws.redraw(ms(5_600));
        assert_eq!(redraws.judge(ms(5_600)), None);
        redraws.input(ms(6_000), true, false);
        redraws.input(ms(6_100), false, false);
        redraws.redraw(ms(6_200));
        assert_eq!(redraws.judge(ms(6_200)), None);
    }

    #[test]
    fn esc_and_time_forget_the_prompt() {
        let mut redraws = sent();
        assert_eq!(redraws.judge(ms(5_700) + LAPSE), None);
        redraws.input(ms(9_000), false, true);
        assert_eq!(redraws.judge(ms(9_000)), None);
    }
}
