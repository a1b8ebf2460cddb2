//! `lowlevel-set-host-ip`: tell the cluster a host's new address.

use crate::context::{Ctx, set};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::suggest;
use mars_meta_model::{NodeState, Table, roster};
use std::net::{IpAddr, SocketAddr};

/// Tell the cluster the new address of a host: where its daemons are reached, and what ips/ip-HOST says.
///
/// If its configuration names an address (advertise), the host itself writes that again, when marsd starts there, and while it
/// runs as soon as it hears of another one: change it there first.
///
/// Example: marsadm lowlevel-set-host-ip hostb 192.0.2.7
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The host
    #[arg(value_name = "HOST")]
    pub host: String,
    /// IP, or IP:PORT of its metadata daemon
    #[arg(value_name = "ADDR")]
    pub addr: String,
}

/// Runs the command.
///
/// # Errors
/// If the host is not known or the address is none.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let host = &args.host;
    let work = async {
        let table = ctx.table(&["roster/"]).await?;
        let line = roster(&table).remove(host);
        let mut record = line
            .filter(|record| record.state == NodeState::Active)
            .ok_or_else(|| no_node(&table, host))?;
        let old = record.meta.first().copied();
        let meta = parse(&args.addr, old.map_or(0, |old| old.port()))?;
        record.meta = vec![meta];
        for data in &mut record.data {
            data.set_ip(meta.ip());
        }
        let changes = vec![
            set(&format!("roster/{host}"), &record.to_string())?,
            set(&format!("ips/ip-{host}"), &meta.ip().to_string())?,
        ];
        ctx.apply(changes).await?;
        let old = old.map_or("none".to_owned(), |old| old.to_string());
        let done = if ctx.opts.dry_run {
            "would change"
        } else {
            "changed"
        };
        ctx.ui
            .note(&format!("address of {host} {done} from {old} to {meta}"));
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about(&format!("lowlevel-set-host-ip {host}")))
}

fn no_node(table: &Table, host: &str) -> Error {
    let nodes = roster(table).into_iter();
    let active = nodes.filter(|(_, record)| record.state == NodeState::Active);
    let names: Vec<String> = active.map(|(name, _)| name).collect();
    let error = Error::of(
        Code::HostNotFound,
        format!("{host} is no node of this cluster"),
    );
    error.hint(suggest::hint("nodes of the cluster", host, &names))
}

fn parse(text: &str, port: u16) -> Result<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let addr = bare.unwrap_or(text).parse::<IpAddr>();
    let addr = addr.map(|ip| SocketAddr::new(ip, port));
    let addr = addr.or_else(|_| text.parse::<SocketAddr>());
    let usable = |addr: &SocketAddr| addr.port() != 0 && !addr.ip().is_unspecified();
    addr.ok().filter(usable).ok_or_else(|| {
        Error::usage(format!(
            "'{}' is no address",
            mars_meta_model::escaped(text)
        ))
        .hint("give IP or IP:PORT, for example 192.0.2.7:7900")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_the_port_unless_one_is_given() {
        for (text, want) in [
            ("192.0.2.7", "192.0.2.7:79"),
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("[::1]", "[::1]:79"),
            ("::1", "[::1]:79"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(parse(text, 79).unwrap(), want.parse().unwrap(), "{text}");
        }
        for bad in ["", "hosta", "0.0.0.0", "192.0.2.7:0", "192.0.2.7:x"] {
            assert!(parse(bad, 79).is_err(), "{bad}");
        }
    }
}
