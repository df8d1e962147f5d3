//! Stories, end to end: the real binaries against real servers, with everything
//! killed, cut off and repeated that can be. Run them through `./test`.

mod kit;

mod kit_proof;

mod broker;
mod fleet;
mod gate;
mod installation;
mod ledger;
mod site;

mod bus;
mod clocks;
mod kill;
mod masters;
mod names;
mod pair;
mod replay;
mod storm;
mod watch;
