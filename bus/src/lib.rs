//! A connection to the bus, over AMQP 0-9-1: how one is made, and what its faults mean for a person.
//!
//! Which queues, exchanges and topics there are is known to those who connect: a trigger consumes, a master publishes.

mod broker;
mod connect;
mod fault;
mod tls;

pub use broker::Broker;
pub use connect::{connect, host};
pub use fault::{Fault, code};
