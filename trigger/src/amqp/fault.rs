//! What goes wrong with a session, by what can be done about it.

use lapin::ErrorKind;

/// Why a session ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Comes and goes: broker down or restarting, queue not there yet, connection cut.
    #[error("{0}")]
    Passing(String),
    /// Stays until a person changes something: access refused, other flags, a certificate.
    #[error("{0}")]
    Lasting(String),
    /// Somebody else consumes the queue that should be ours alone.
    #[error("queue '{0}' has a consumer already")]
    InUse(String),
}

impl Fault {
    pub fn passing(text: impl Into<String>) -> Fault {
        Fault::Passing(text.into())
    }

    pub fn is_lasting(&self) -> bool {
        match self {
            Fault::Passing(_) => false,
            Fault::Lasting(_) | Fault::InUse(_) => true,
        }
    }

    /// Sorts what failed while doing `what`.
    pub fn of(what: &str, error: &lapin::Error) -> Fault {
        let text = format!("cannot {what}: {error}");
        match (code(error), error.kind()) {
            (Some(403), _) => Fault::Lasting(format!("{text}; see the account's permissions on the broker")),
            (Some(406), _) if what.starts_with("declare") => Fault::Lasting(format!(
                "{text}; the queue is there with other flags: set durable, exclusive and auto_delete as it has them, \
                 or passive = true to take it as it is"
            )),
            (Some(530), _) => Fault::Lasting(format!("{text}; see the virtual host in the address")),
            (_, ErrorKind::IOError(e)) if e.kind() == std::io::ErrorKind::InvalidData => Fault::Lasting(text),
            (_, ErrorKind::AuthProviderError(_)) => Fault::Lasting(text),
            (_, _) => Fault::Passing(text),
        }
    }
}

/// The broker's reply code, where it was the broker that failed.
pub fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(e) => Some(e.get_id()),
        _ => None,
    }
}
