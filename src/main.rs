use std::process::ExitCode;

fn main() -> ExitCode {
    ebpf_ai_monitor::cli::main()
}
