//! One resource on this host: its driver thread, what it shares with front ends and peers, and the registry
//! of all of them.

mod device;
mod driver;
mod primary;
mod registry;
mod replica;
mod request;
mod secondary;
mod shared;
mod slots;
mod storage;
mod succession;
mod workers;

pub(crate) use driver::{Context, DriverHandle, Event, Intent, spawn};
pub(crate) use registry::Registry;
pub(crate) use replica::Replica;
pub(crate) use request::Requests;
pub(crate) use shared::{DeviceView, Shared};
pub(crate) use slots::{SyncSlot, SyncSlots};
pub(crate) use storage::{Disk, Found, SuperblockFile};
