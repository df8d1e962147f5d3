//! `jobrunner`: submits job logs.

fn main() -> std::process::ExitCode {
    taskotron::replay::main()
}
