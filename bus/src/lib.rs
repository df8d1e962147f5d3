//! A connection to the bus, over AMQP 0-9-1: how one is made, what its faults mean for a person, and how
//! messages are brought to it.
//!
//! Which queues, exchanges and topics there are is known to those who connect: a trigger consumes; a master and a results
//! store publish, both by [`Publisher`].

mod broker;
mod connect;
mod fault;
mod publish;
mod tls;

pub use broker::Broker;
pub use connect::{connect, host};
pub use fault::{Fault, code};
pub use publish::{Answer, Outlet, Publisher, Telegram, rest};
