//! `join-cluster`: become part of another node's cluster.

use super::create_cluster::without_cluster;
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::limits::SMALL_FILE_MAX;
use mars_meta_api::{Request, Secret};
use std::io::Read as _;
use std::path::Path;

/// Join the cluster of another node with a token that `marsadm join-token` printed there.
///
/// The token is read from a file, from stdin (-), or from the environment variable MARS_JOIN_TOKEN; never from
/// the command line, where every user of this machine could see it.
///
/// Example: marsadm join-cluster hosta:7900 --token /root/token
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A node of the cluster as `HOST[:PORT]`; left out: the address in the token
    pub host: Option<String>,
    /// File with the token, or - for stdin
    #[arg(long, value_name = "FILE")]
    pub token: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// No token, a token on the command line, or the daemon's refusal.
pub async fn run(ctx: &Ctx, args: Args) -> Result<()> {
    let work = async {
        let token = read_token(args.host.as_deref(), args.token.as_deref())?;
        if ctx.opts.dry_run {
            without_cluster(ctx).await?;
            let host = &ctx.node().await?.host;
            ctx.ui.note(&format!("would write: roster/{host} (new)"));
            ctx.ui
                .note("would join the cluster; the token would be checked there");
            return Ok(());
        }
        let request = Request::JoinCluster {
            addr: args.host.clone(),
            token,
        };
        match ctx.call(request).await {
            Ok(_) => {}
            // With since when.
            Err(error) if error.code() == Code::AlreadyInCluster => {
                without_cluster(ctx).await?;
                return Err(error);
            }
            Err(error) if error.kind == Kind::Timeout => {
                let issuer = args.host.as_deref().unwrap_or("the issuer of the token");
                let text = format!(
                    "{issuer} has not admitted this node within {} s",
                    ctx.opts.timeout.as_secs()
                );
                return Err(Error::new(Kind::Timeout, text).hint(
                    "if that node is gone, its tokens are, too: marsadm join-token > FILE on the node that holds the \
                     authority now (marsadm get-link defaults/ca-host on any node); else again, with a longer --timeout",
                ));
            }
            Err(error) => return Err(error),
        }
        ctx.ui.token("successfully joined the cluster");
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about("join-cluster"))
}

/// The token from the file that `place` names, from stdin, or from the environment.
///
/// # Errors
/// None is there, or it stands on the command line.
pub(super) fn read_token(host: Option<&str>, place: Option<&str>) -> Result<Secret> {
    for word in host.iter().chain(&place) {
        if looks_like_token(word) {
            return Err(Error::usage(
                "a token on the command line is refused: every user of this machine can read it there",
            )
            .hint("draw a new token, write it to a file and name that: --token FILE (or - for stdin)"));
        }
    }
    let token = match place {
        Some("-") => read_limited("stdin", std::io::stdin())?,
        Some(place) => {
            let file = std::fs::File::open(Path::new(place)).map_err(|error| {
                let kind = Kind::of_io(&error);
                Error::new(
                    kind,
                    format!("the token file {place} cannot be read: {error}"),
                )
            })?;
            read_limited(place, file)?
        }
        None => std::env::var("MARS_JOIN_TOKEN").map_err(|_| {
            Error::usage("a token is needed to join").hint(
                "on a node of the cluster: marsadm join-token > FILE; then here: --token FILE",
            )
        })?,
    };
    let token = token.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(Error::usage("the token is empty or has white space in it")
            .hint("give exactly the line that marsadm join-token printed"));
    }
    Ok(Secret(token.to_owned()))
}

fn read_limited(name: &str, from: impl std::io::Read) -> Result<String> {
    let mut text = String::new();
    from.take(SMALL_FILE_MAX)
        .read_to_string(&mut text)
        .map_err(|error| {
            Error::internal(format!("the token cannot be read from {name}: {error}"))
        })?;
    Ok(text)
}

/// Whether a word can hardly be a path or an address, but may well be a token.
fn looks_like_token(word: &str) -> bool {
    let tokenish = |b: u8| b.is_ascii_alphanumeric() || b"._-+=:".contains(&b);
    word.len() >= 40 && word.bytes().all(tokenish) && !Path::new(word).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_from_paths_and_hosts() {
        assert!(looks_like_token(&format!(
            "mm1.{}",
            "0123456789abcdef.".repeat(4)
        )));
        for ok in ["/root/token", "-", "hosta:7900", "[2001:db8::1]:7900"] {
            assert!(!looks_like_token(ok), "{ok}");
        }
    }
}
