//! All resources of this host, and what front ends may open of them.

use super::Shared;
use super::device::Exported;
use crate::block::{ExportEntry, Exports, OpenDevice, OpenError};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;

/// The resources by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    resources: RwLock<BTreeMap<String, Arc<Shared>>>,
    urgent: Arc<Notify>,
}

impl Registry {
    /// Adds a resource.
    pub(crate) fn insert(&self, shared: Arc<Shared>) {
        let name = shared.name.as_str().to_owned();
        self.resources
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, shared);
    }

    /// Takes out a resource that this host left.
    pub(crate) fn remove(&self, name: &str) {
        self.resources
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// One resource.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Shared>> {
        self.resources
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Shared>> {
        let resources = self
            .resources
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        resources.values().cloned().collect()
    }

    /// What drivers wake when something must be reported at once.
    pub(crate) fn urgency(&self) -> Arc<Notify> {
        Arc::clone(&self.urgent)
    }

    /// Returns when something must be reported at once.
    pub(crate) async fn urgent(&self) {
        self.urgent.notified().await;
    }
}

impl Exports for Registry {
    fn list(&self) -> Vec<ExportEntry> {
        self.all()
            .iter()
            .filter_map(|shared| {
                let device = shared.device()?;
                Some(ExportEntry {
                    name: device.export.clone(),
                    description: format!("resource {}", shared.name),
                })
            })
            .collect()
    }

    fn open(&self, name: &str) -> Result<OpenDevice, OpenError> {
        let all = self.all();
        let exported = all.iter().find_map(|shared| {
            let device = shared.device().filter(|device| device.export == name)?;
            Some(Exported::open(shared, &device))
        });
        exported.unwrap_or_else(|| {
            Err(match self.get(name) {
                Some(_) => OpenError::NotHere(format!(
                    "this host is not primary for '{name}': \
                     open it on the primary, or run 'marsadm primary {name}' here"
                )),
                None => OpenError::Unknown(name.to_owned()),
            })
        })
    }
}
