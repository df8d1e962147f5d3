//! A plain dump of ResultsDB's PostgreSQL, as pg_dump writes it: a `COPY` block a table, a row a line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use model::Time;
use serde_json::Value;
use tokio::io::AsyncBufRead;

use super::scratch::{Row, Scratch, Table};
use super::{Importer, Lines, line};
use crate::moment;
use crate::result::{Change, NewGroup, NewResult, NewTestcase};

/// The longest uuid of a group, in characters.
const LONGEST_UUID: usize = 36;

/// A block that is being read.
struct Block {
    table: Table,
    /// For each column that is kept, its place in a line.
    places: Vec<usize>,
    /// How many columns a line has.
    width: usize,
}

/// Reads a dump whose first line is `first`, and takes in what stands in it.
pub async fn read(
    importer: &mut Importer<'_>,
    first: &[u8],
    mut lines: Lines<impl AsyncBufRead + Unpin>,
    folder: &Path,
) -> anyhow::Result<()> {
    let mut scratch = Scratch::make(folder).await?;
    let mut missing: BTreeSet<Table> = Table::ALL.into_iter().collect();
    let mut block: Option<Block> = None;
    let mut skipping = false;
    let mut line = first.to_vec();
    loop {
        let number = lines.number;
        let at = || format!("line {number}");
        match &block {
            Some(_) if line == b"\\." => block = None,
            Some(open) => {
                let values =
                    row(open, &line).with_context(|| format!("line {number}, of table {}", open.table.name()))?;
                scratch.keep(open.table, values).await.with_context(at)?;
            }
            None if skipping => skipping = line != b"\\.",
            None if line.starts_with(b"COPY ") => {
                block = open(&line).with_context(at)?;
                skipping = block.is_none();
                if let Some(open) = &block {
                    ensure!(missing.remove(&open.table), "line {number}: table {} comes twice", open.table.name());
                }
            }
            None => statement(&line).with_context(at)?,
        }
        match lines.next().await? {
            Some(next) => line = next.to_vec(),
            None => break,
        }
    }
    if let Some(open) = block {
        bail!("it ends in the middle of table {}, at line {}", open.table.name(), lines.number);
    }
    let missing: Vec<&str> = missing.into_iter().map(Table::name).collect();
    ensure!(
        missing.is_empty(),
        "it holds no rows of {}: make it by 'pg_dump -a -t testcase -t '\"group\"' -t result -t result_data -t \
         groups_to_results DATABASE'",
        missing.join(", ")
    );
    scratch.finish().await?;
    take(importer, &mut scratch).await
}

/// Looks at a line outside of a block for what tells that this cannot be read.
fn statement(line: &[u8]) -> anyhow::Result<()> {
    if line.starts_with(b"INSERT INTO ") {
        bail!("it was made with --inserts: make it again without, so that rows stand in COPY blocks");
    }
    if let Some(rest) = line.strip_prefix(b"SET client_encoding = ")
        && !rest.starts_with(b"'UTF8'")
    {
        bail!("it is not in UTF-8: make it again with --encoding=UTF8");
    }
    Ok(())
}

/// `COPY schema.table (column, …) FROM stdin;`; none for a table that is not read.
fn open(line: &[u8]) -> anyhow::Result<Option<Block>> {
    let text = std::str::from_utf8(line).context("it is not in UTF-8: make the dump with --encoding=UTF8")?;
    let unread = || "it is no COPY block of a plain dump";
    let (name, rest) = text.strip_prefix("COPY ").and_then(|t| t.split_once(" (")).with_context(unread)?;
    let columns = rest.strip_suffix(") FROM stdin;").with_context(unread)?;
    let plain = |name: &str| name.trim().trim_matches('"').to_owned();
    let name = plain(name.rsplit('.').next().unwrap_or(name));
    let Some(table) = Table::ALL.into_iter().find(|table| table.name() == name) else { return Ok(None) };
    let columns: Vec<String> = columns.split(", ").map(plain).collect();
    let place = |wanted: &&str| {
        let place = columns.iter().position(|column| column == wanted);
        place.with_context(|| format!("table {name} has no column {wanted}: it is not ResultsDB's"))
    };
    let places = table.columns().iter().map(place).collect::<anyhow::Result<_>>()?;
    Ok(Some(Block { table, places, width: columns.len() }))
}

/// The values of a line that are kept.
fn row(block: &Block, line: &[u8]) -> anyhow::Result<Vec<Value>> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b'\t').collect();
    ensure!(fields.len() == block.width, "it has {} columns instead of {}", fields.len(), block.width);
    let mut values = Vec::with_capacity(block.places.len());
    for (place, column) in block.places.iter().zip(block.table.columns()) {
        let text = unescaped(fields[*place]).with_context(|| format!("column {column}"))?;
        values.push(value(column, text)?);
    }
    Ok(values)
}

/// A column's value as it is kept.
fn value(column: &str, text: Option<String>) -> anyhow::Result<Value> {
    let Some(text) = text else {
        ensure!(matches!(column, "ref_url" | "note" | "description"), "column {column} must not be null");
        return Ok(Value::Null);
    };
    Ok(match column {
        "id" | "result_id" => {
            Value::from(text.parse::<i64>().with_context(|| format!("column {column} holds '{text}', which is no id"))?)
        }
        "submit_time" => {
            let time = moment::stored(&text);
            Value::from(
                time.with_context(|| format!("column {column} holds '{text}', which is no time in ISO 8601"))?.0,
            )
        }
        "uuid" | "group_uuid" => {
            let length = text.chars().count();
            ensure!((1..=LONGEST_UUID).contains(&length), "column {column} has {length} characters, and may have 36");
            Value::from(text)
        }
        _ => Value::from(text),
    })
}

/// A field of COPY's text format; none for `\N`.
fn unescaped(field: &[u8]) -> anyhow::Result<Option<String>> {
    if field == b"\\N" {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().context("it ends with a backslash")? {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            digit @ b'0'..=b'7' => {
                let mut code = u32::from(digit - b'0');
                for _ in 0..2 {
                    let Some(next) = rest.next_if(|b| (b'0'..=b'7').contains(b)) else { break };
                    code = code * 8 + u32::from(next - b'0');
                }
                code as u8
            }
            other => other,
        });
    }
    Ok(Some(String::from_utf8(bytes).context("it is not in UTF-8: make the dump with --encoding=UTF8")?))
}

/// Takes in everything in the order in which it was made.
async fn take(importer: &mut Importer<'_>, scratch: &mut Scratch) -> anyhow::Result<()> {
    for table in [Table::Testcase, Table::Group] {
        let mut after = i64::MIN;
        loop {
            let rows = scratch.named(table, after).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            for row in rows {
                let ref_url = Change::Set(row.ref_url);
                if table == Table::Group {
                    let description = Change::Set(row.description);
                    importer.group(NewGroup { uuid: row.name, description, ref_url }).await?;
                } else {
                    ensure!(!row.name.is_empty(), "testcase {} has an empty name", row.id);
                    importer.testcase(NewTestcase { name: row.name, ref_url }).await?;
                }
            }
        }
    }
    let mut after = i64::MIN;
    loop {
        let rows = scratch.results(after).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { break };
        let (from, until) = (first.id, last.id);
        after = until;
        let mut data: BTreeMap<i64, BTreeMap<String, Vec<String>>> = BTreeMap::new();
        for (id, key, value) in scratch.data(from, until).await? {
            data.entry(id).or_default().entry(key).or_default().push(value);
        }
        let mut groups: BTreeMap<i64, Vec<NewGroup>> = BTreeMap::new();
        for (id, uuid) in scratch.links(from, until).await? {
            let groups = groups.entry(id).or_default();
            if groups.iter().all(|group| group.uuid != uuid) {
                groups.push(NewGroup { uuid, description: Change::Keep, ref_url: Change::Keep });
            }
        }
        for row in rows {
            let (data, groups) = (data.remove(&row.id), groups.remove(&row.id));
            importer.result(format!("result {}", row.id), result(row, data, groups)?).await?;
        }
    }
    for table in [Table::Data, Table::Link] {
        let strays = scratch.strays(table).await?;
        if strays > 0 {
            importer.done.left_out.push(format!("{strays} rows of {} whose result is not in the dump", table.name()));
        }
    }
    Ok(())
}

fn result(
    row: Row,
    data: Option<BTreeMap<String, Vec<String>>>,
    groups: Option<Vec<NewGroup>>,
) -> anyhow::Result<NewResult> {
    ensure!((1..=line::GREATEST_ID).contains(&row.id), "result {}: its id must be from 1 up", row.id);
    ensure!(!row.testcase_name.is_empty(), "result {}: its testcase has an empty name", row.id);
    line::check(NewResult {
        id: Some(row.id),
        outcome: row.outcome,
        testcase: NewTestcase { name: row.testcase_name, ref_url: Change::Set(row.testcase_ref_url) },
        groups: groups.unwrap_or_default(),
        data: data.unwrap_or_default(),
        note: row.note,
        ref_url: row.ref_url,
        submit_time: Time(row.submit_time),
        received: Time(row.submit_time),
        key: None,
        told_at: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_copy_writes_them() {
        let text = |field: &[u8]| unescaped(field).unwrap();
        assert_eq!(text(b"\\N"), None);
        assert_eq!(text(b"").as_deref(), Some(""));
        assert_eq!(text(br"a\tb\nc\\N\r\x").as_deref(), Some("a\tb\nc\\N\rx"));
        assert_eq!(text(br"\303\251\1012").as_deref(), Some("éA2"));
        assert!(unescaped(b"a\\").is_err() && unescaped(b"\xff").is_err());
    }

    #[test]
    fn a_block_is_read_by_the_names_of_its_columns() {
        let block =
            open(br#"COPY public."group" (uuid, id, "description", ref_url, more) FROM stdin;"#).unwrap().unwrap();
        assert_eq!((block.table, block.places.as_slice(), block.width), (Table::Group, &[1, 0, 2, 3][..], 5));
        let values = row(&block, b"u\t7\t\\N\thttps://x\tmore").unwrap();
        assert_eq!(values, [7.into(), "u".into(), Value::Null, "https://x".into()]);
        assert!(open(b"COPY public.sessions (id) FROM stdin;").unwrap().is_none());
        for (line, says) in [
            (&b"COPY public.result (id) FROM stdin;"[..], "no column testcase_name"),
            (b"COPY result FROM '/tmp/x';", "no COPY block"),
        ] {
            assert!(format!("{:#}", open(line).err().unwrap()).contains(says));
        }
        for (line, says) in [
            (&b"u\t7"[..], "2 columns instead of 5"),
            (b"u\tx\t\\N\t\\N\t", "'x', which is no id"),
            (b"\\N\t7\t\\N\t\\N\t", "uuid must not be null"),
            (b"0123456789012345678901234567890123456\t7\t\\N\t\\N\t", "37 characters"),
        ] {
            let error = format!("{:#}", row(&block, line).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_dump_that_cannot_be_read_is_said_to_be_one() {
        assert!(statement(b"INSERT INTO public.result VALUES (1);").is_err());
        assert!(statement(b"SET client_encoding = 'LATIN1';").is_err());
        assert!(statement(b"SET client_encoding = 'UTF8';").is_ok());
    }
}
