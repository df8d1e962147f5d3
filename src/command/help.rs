//! `taskotron help`, `completion`, `man`, and the reference that is made of the same texts.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::exit::{Exit, Failure, OrExit as _};
use crate::replay;

use super::Cli;

#[derive(Args, Debug)]
pub struct Help {
    /// A command, word by word, or 'exit-codes'
    #[arg(value_name = "COMMAND")]
    topic: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Completion {
    /// bash, elvish, fish, powershell or zsh
    shell: Shell,
}

#[derive(Args, Debug)]
pub struct Man {
    /// The folder to write into; it is made where it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Help {
    pub fn run(self) -> anyhow::Result<Exit> {
        let mut out = std::io::stdout().lock();
        if self.topic == ["exit-codes"] {
            out.write_all(Exit::table().as_bytes())?;
            return Ok(Exit::Reached);
        }
        let mut command = Cli::command();
        command.build();
        let mut found = &mut command;
        for word in &self.topic {
            found = found.find_subcommand_mut(word).ok_or_else(|| {
                Failure::error(Exit::Usage, format!("there is no command '{}'", self.topic.join(" ")))
            })?;
        }
        write!(out, "{}", found.render_long_help())?;
        Ok(Exit::Reached)
    }
}

impl Completion {
    pub fn run(self) -> anyhow::Result<Exit> {
        for (mut command, name) in [(Cli::command(), "taskotron"), (replay::command(), "jobrunner")] {
            clap_complete::generate(self.shell, &mut command, name, &mut std::io::stdout());
        }
        Ok(Exit::Reached)
    }
}

impl Man {
    pub fn run(self) -> anyhow::Result<Exit> {
        let dir = &self.dir;
        let cannot = || format!("cannot write into {}", dir.display());
        std::fs::create_dir_all(dir).with_context(cannot).or_exit(Exit::Usage)?;
        for command in [Cli::command(), replay::command()] {
            clap_mangen::generate_to(command, dir).with_context(cannot).or_exit(Exit::Usage)?;
        }
        eprintln!("written to {}", dir.display());
        Ok(Exit::Reached)
    }
}

/// `docs/cli.md`: the help of every command, as a person would see it.
#[cfg(test)]
fn reference() -> String {
    let mut text = String::from(
        "# Commands\n\nThe help of every command. Made from the programs themselves: `TASKOTRON_UPDATE=1 cargo test --lib \
         reference` writes it anew.\n",
    );
    for mut command in [Cli::command(), replay::command()] {
        command = command.term_width(100);
        command.build();
        let name = command.get_name().to_owned();
        describe(&mut command, &name, &mut text);
    }
    text + "\n## Exit codes\n\n```\n" + &Exit::table() + "```\n"
}

#[cfg(test)]
fn describe(command: &mut clap::Command, name: &str, text: &mut String) {
    let help = command.render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    *text += &format!("\n## {name}\n\n```\n{}\n```\n", lines.join("\n").trim_end());
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for verb in verbs {
        if let Some(command) = command.find_subcommand_mut(&verb) {
            describe(command, &format!("{name} {verb}"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
        replay::command().debug_assert();
    }

    #[test]
    fn the_reference_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
        if std::env::var_os("TASKOTRON_UPDATE").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == reference(), "docs/cli.md is old: TASKOTRON_UPDATE=1 cargo test --lib reference");
    }

    #[test]
    fn pages_and_completions_are_made() {
        let dir = tempfile::tempdir().unwrap();
        Man { dir: dir.path().join("man") }.run().unwrap();
        let pages = std::fs::read_dir(dir.path().join("man")).unwrap().count();
        assert!(pages > 20, "{pages}");
    }
}
