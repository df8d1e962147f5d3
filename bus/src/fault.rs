//! What goes wrong with a session, by what can be done about it.

use lapin::ErrorKind;
use rustls::AlertDescription as Alert;

/// Why a session ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Comes and goes: broker down or restarting, queue not there yet, connection cut.
    #[error("{0}")]
    Passing(String),
    /// Stays until a person changes something: access refused, other flags, a certificate.
    #[error("{0}")]
    Lasting(String),
    /// The broker takes everything but a message like this: it is too large, or says what it must not.
    #[error("{0}")]
    Message(String),
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
            Fault::Passing(_) | Fault::Message(_) => false,
            Fault::Lasting(_) | Fault::InUse(_) => true,
        }
    }

    /// Sorts what failed while doing `what`, and says what a person can do.
    pub fn of(what: &str, error: &lapin::Error) -> Fault {
        let (text, doing) = (said(error), what.split(' ').next().unwrap_or_default());
        let lasting = |advice: &str| Fault::Lasting(format!("cannot {what}: {text}{advice}"));
        let passing = |advice: &str| Fault::Passing(format!("cannot {what}: {text}{advice}"));
        match (code(error), doing) {
            (Some(403), "connect") => lasting(
                "; see user and password in the address. With a client certificate the address ends in \
                 ?auth_mechanism=external, and the broker must know the user that the certificate names",
            ),
            (Some(530), "connect") => lasting("; see the virtual host in the address, and the user's rights on it"),
            (Some(403), "consume") if text.contains("exclusive") => {
                lasting("; two consumers would share its messages: stop the other one, or name another queue")
            }
            (Some(403), _) => lasting("; the broker's administrators can give this user the right to it"),
            (Some(404), "declare") => passing(
                "; others have to make it, as passive = true says: ask them, or let it be made by passive = false",
            ),
            (Some(404), "bind") => {
                passing("; see [trigger.amqp] exchange, or have it made by [trigger.amqp.exchanges]")
            }
            (Some(405), _) => passing("; another connection has it for itself"),
            (Some(404), "publish") => passing("; it must be there: the broker's administrators can make it"),
            (Some(406), "publish") => Fault::Message(format!("cannot {what}: {text}")),
            (Some(406), "declare") => lasting(
                "; it is there with other flags: set durable, exclusive, auto_delete and arguments as it has them, or \
                 passive = true to take it as it is",
            ),
            (Some(406), _) if text.contains("timed out") => {
                passing("; nothing is lost: the broker sends again what was not acknowledged")
            }
            (_, _) => match tls(error) {
                Some(advice) => lasting(advice),
                None if matches!(error.kind(), ErrorKind::AuthProviderError(_)) => lasting(""),
                None => passing(""),
            },
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

/// What happened, without the library's words around it.
fn said(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(e) => e.get_message().to_string(),
        ErrorKind::IOError(e) => e.to_string(),
        ErrorKind::MissingHeartbeatError => "the broker gives no sign of life any more".to_owned(),
        _ => error.to_string(),
    }
}

/// What to do about it, where it was the certificates that failed or the other end does not speak TLS.
fn tls(error: &lapin::Error) -> Option<&'static str> {
    let ErrorKind::IOError(error) = error.kind() else { return None };
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            Some("; ca_file must hold the authority that signed the broker's certificate")
        }
        rustls::Error::InvalidCertificate(_) => Some("; it is the broker's certificate that cannot be trusted so"),
        rustls::Error::InvalidMessage(_) => Some("; does it speak TLS on this port? If not, the address is amqp://"),
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            Some("; the broker asks for a client certificate: set cert_file and key_file")
        }
        rustls::Error::AlertReceived(_) => {
            Some("; the broker does not take our certificate: see cert_file and key_file")
        }
        _ => Some(""),
    }
}
