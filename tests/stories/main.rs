//! Stories, end to end: the real binaries against real servers, with everything
//! killed, cut off and repeated that can be. Run them through `./test`.

mod kit;

mod kit_proof;

mod broker;
mod fleet;
mod gate;
mod held;
mod installation;
mod ledger;
mod site;
mod tally;
mod upstream;

mod acts;
mod alone;
mod answers;
mod artifacts;
mod authors;
mod backlog;
mod bus;
mod clocks;
mod confined;
mod discover;
mod half_open;
mod imports;
mod intake;
mod keys;
mod kill;
mod leases;
mod live;
mod masters;
mod messages;
mod names;
mod outage;
mod pair;
mod power;
mod recorder;
mod reference;
mod replay;
mod reporters;
mod repos;
mod restore;
mod secrets;
mod service;
mod steps;
mod storm;
mod told;
mod watch;
mod webhook;
mod window;
