//! The administrator's command line, the configuration of the daemons, and the sandbox.

#![forbid(unsafe_code)]

pub mod cli;
pub mod commands;
pub mod config;
pub mod context;
pub mod daemon;
pub mod disk;
pub mod error;
pub mod gone;
pub mod keys;
pub mod limits;
pub mod macros;
pub mod run;
pub mod sandbox;
pub mod size;
pub mod snapshot;
pub mod ui;
pub mod wait;
