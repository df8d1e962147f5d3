//! `taskotron`: every role as a subcommand, and what operators ask of them.

fn main() -> std::process::ExitCode {
    taskotron::command::main()
}
