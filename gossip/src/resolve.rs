//! Addresses given by hand: `HOST`, `HOST:PORT`, `IP`, `IP:PORT`, `[IP6]:PORT`.

use mars_meta_api::{ApiError, ErrorCode};
use mars_meta_model::shown;
use std::net::{IpAddr, SocketAddr};

/// The addresses that a text stands for; `port` where it names none.
pub(crate) async fn resolve(text: &str, port: u16) -> Result<Vec<SocketAddr>, ApiError> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(vec![addr]);
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, digits)) => match digits.parse() {
            Ok(port) => (host, port),
            Err(_) => return Err(bad(text)),
        },
        None => (text, port),
    };
    let found = tokio::net::lookup_host((host, port)).await;
    let addrs: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
    if addrs.is_empty() {
        let message = format!("the host name '{}' has no address", shown(host));
        return Err(ApiError::new(ErrorCode::Unreachable, message)
            .with_hint("give an IP address, or leave the address to the token"));
    }
    Ok(addrs)
}

fn bad(text: &str) -> ApiError {
    let message = format!("'{}' is no address of the form HOST[:PORT]", shown(text));
    ApiError::new(ErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_forms_are_understood() {
        for (text, want) in [
            ("10.0.0.1", "10.0.0.1:7"),
            ("10.0.0.1:8", "10.0.0.1:8"),
            ("::1", "[::1]:7"),
            ("[::1]", "[::1]:7"),
            ("[::1]:8", "[::1]:8"),
        ] {
            let want: SocketAddr = want.parse().unwrap();
            assert_eq!(resolve(text, 7).await.unwrap(), [want], "{text}");
        }
        let error = resolve("host:x", 7).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest);
    }
}
