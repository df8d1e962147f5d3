//! Stories told to a master over its real router, with a real store, in one process.

mod acts;
mod artifacts;
mod house;
mod idle;
mod intake;
mod keys;
mod leases;
mod names;
mod pages;
mod pairs;
mod publishing;
mod reading;
mod roles;
mod sources;
mod submitting;
mod telling;
mod vitals;
