//! Data on stdout: as a table for people, as JSON or CSV for programs.

use std::io::{self, IsTerminal as _, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::terminal::harmless;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// One document
    Json,
    /// One object a line
    Jsonl,
    /// RFC 4180 with a header line
    Csv,
}

/// One column of a listing: its name, whether it is only for programs, and its text.
pub struct Column<T> {
    pub name: &'static str,
    pub wide: bool,
    pub text: fn(&T) -> String,
}

/// What can be listed.
pub trait Listed: Serialize + Sized + 'static {
    const COLUMNS: &'static [Column<Self>];
}

/// A column that people see, too.
pub const fn column<T>(name: &'static str, text: fn(&T) -> String) -> Column<T> {
    Column { name, wide: false, text }
}

/// A column of CSV only.
pub const fn wide<T>(name: &'static str, text: fn(&T) -> String) -> Column<T> {
    Column { name, wide: true, text }
}

/// A value or an empty cell.
pub fn maybe<V: ToString>(value: &Option<V>) -> String {
    value.as_ref().map(V::to_string).unwrap_or_default()
}

/// Prints a listing that comes in pages: lines go out as they come, a table or a document at the end.
pub struct Listing<T: Listed> {
    format: Format,
    kept: Vec<T>,
    csv: Option<csv::Writer<io::Stdout>>,
}

impl<T: Listed> Listing<T> {
    pub fn new(format: Format) -> Listing<T> {
        Listing { format, kept: Vec::new(), csv: None }
    }

    pub fn add(&mut self, items: Vec<T>) -> anyhow::Result<()> {
        match self.format {
            Format::Table | Format::Json => self.kept.extend(items),
            Format::Jsonl => {
                let mut out = io::BufWriter::new(io::stdout().lock());
                for item in &items {
                    serde_json::to_writer(&mut out, item).map_err(io::Error::from)?;
                    out.write_all(b"\n")?;
                }
                out.flush()?;
            }
            Format::Csv => {
                let csv = self.csv_writer()?;
                for item in &items {
                    csv.write_record(T::COLUMNS.iter().map(|c| (c.text)(item))).map_err(io::Error::from)?;
                }
                csv.flush()?;
            }
        }
        Ok(())
    }

    /// Prints what was kept.
    pub fn finish(mut self) -> anyhow::Result<()> {
        match self.format {
            Format::Jsonl => Ok(()),
            Format::Csv => Ok(self.csv_writer()?.flush()?),
            Format::Json => document(&self.kept),
            Format::Table => {
                let mut table = table(T::COLUMNS.iter().filter(|c| !c.wide).map(|c| c.name));
                for item in &self.kept {
                    table.add_row(T::COLUMNS.iter().filter(|c| !c.wide).map(|c| harmless(&(c.text)(item))));
                }
                print(&table)
            }
        }
    }

    fn csv_writer(&mut self) -> anyhow::Result<&mut csv::Writer<io::Stdout>> {
        if self.csv.is_none() {
            let mut writer = csv::Writer::from_writer(io::stdout());
            writer.write_record(T::COLUMNS.iter().map(|c| c.name)).map_err(io::Error::from)?;
            self.csv = Some(writer);
        }
        Ok(self.csv.as_mut().expect("it was made just now"))
    }
}

/// Prints a whole list.
pub fn list<T: Listed>(format: Format, items: Vec<T>) -> anyhow::Result<()> {
    let mut listing = Listing::new(format);
    listing.add(items)?;
    listing.finish()
}

/// Prints one thing: as `people` says for people, as one JSON object for programs. CSV has no form for it.
pub fn one<T: Serialize>(format: Format, thing: &T, people: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match format {
        Format::Table => {
            let text = people(thing);
            let mut out = io::stdout().lock();
            writeln!(out, "{}", text.trim_end_matches('\n'))?;
            Ok(())
        }
        Format::Json => document(thing),
        Format::Jsonl => {
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, thing).map_err(io::Error::from)?;
            Ok(writeln!(out)?)
        }
        Format::Csv => Err(crate::exit::Failure::error(
            crate::exit::Exit::Usage,
            "this is one thing and no list: -o csv has no form for it; use -o json",
        )),
    }
}

/// Pairs of a name and a value, one a line, the values in one column.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let shown = facts.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{name:width$}  {}\n", harmless(value))).collect()
}

fn document<T: Serialize + ?Sized>(thing: &T) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, thing).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// An empty table without lines; on a terminal it fits the width, elsewhere every row is one line.
pub fn table<'a>(names: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let arrangement =
        if io::stdout().is_terminal() { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
    table.set_content_arrangement(arrangement);
    table.set_header(names.map(|name| name.to_uppercase().replace('_', " ")));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

pub fn print(table: &Table) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
