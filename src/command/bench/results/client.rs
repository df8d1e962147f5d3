//! A client that costs nearly nothing: one connection kept alive, one request after the other, bodies read and dropped.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Client {
    stream: TcpStream,
    /// What every request's head ends with.
    head: String,
    read: Vec<u8>,
}

/// Of an answer: its status, and how long its body is.
pub struct Answer {
    pub status: u16,
    pub length: usize,
}

impl Client {
    pub fn connect(address: SocketAddr, token: &str) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!("host: {address}\r\nauthorization: Bearer {token}\r\n");
        Ok(Client { stream, head, read: Vec::new() })
    }

    /// GET of a path, or POST of a JSON body to it.
    pub fn send(&mut self, path: &str, body: Option<&str>) -> anyhow::Result<Answer> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let body = body.unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.head,
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        self.read.clear();
        let head = loop {
            self.more()?;
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let text = std::str::from_utf8(&self.read[..head])?.to_ascii_lowercase();
        let status = text.get(9..12).and_then(|s| s.parse().ok()).context("an answer without a status")?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|l| l.trim().parse().ok()).context("an answer without a length")?;
        while self.read.len() < head + length {
            self.more()?;
        }
        Ok(Answer { status, length })
    }

    fn more(&mut self) -> anyhow::Result<()> {
        let mut piece = [0; 65536];
        match self.stream.read(&mut piece)? {
            0 => bail!("the results store has closed the connection"),
            n => self.read.extend_from_slice(&piece[..n]),
        }
        Ok(())
    }
}
