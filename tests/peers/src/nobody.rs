//! A daemon without a cluster behind the local API: reads and writes of keys need none.

use mars_meta::{Answer, Control};
use mars_meta_api::{ApiError, ErrorCode, NodeInfo, PeerInfo, Secret};

pub struct Nobody;

fn no<T: Send + 'static>() -> Answer<'static, T> {
    Box::pin(async { Err(ApiError::new(ErrorCode::Refused, "a bench has no cluster")) })
}

impl Control for Nobody {
    fn node(&self) -> Answer<'_, NodeInfo> {
        no()
    }
    fn peers(&self) -> Answer<'_, Vec<PeerInfo>> {
        no()
    }
    fn create_cluster(&self) -> Answer<'_, ()> {
        no()
    }
    fn join_token(&self, _: u64, _: u32) -> Answer<'_, Secret> {
        no()
    }
    fn join_cluster(&self, _: Option<String>, _: Secret) -> Answer<'_, ()> {
        no()
    }
    fn liveness(&self, _: &str) -> Option<u64> {
        None
    }
    fn hosts(&self) -> Vec<String> {
        Vec::new()
    }
}
