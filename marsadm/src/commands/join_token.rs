//! `join-token`: a token by which other nodes may join.

use super::ca::with_authority;
use crate::context::{Ctx, unexpected};
use crate::error::{Error, Kind, Result};
use mars_meta_api::{Request, Response};
use serde_json::json;

/// Print a token by which other nodes may join this cluster. Keep it secret: who has it can join until it expires.
///
/// Example: marsadm join-token --ttl 30m --uses 2 > token
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// How long the token is valid: a number and one of s m h d
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub ttl: String,
    /// How many nodes may use it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: u32,
}

/// Runs the command.
///
/// # Errors
/// A wrong time, or the daemon's refusal.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let ttl_secs = parse_ttl(&args.ttl)?;
        if ctx.opts.dry_run {
            with_authority(ctx).await?;
            ctx.ui.note("would draw a token");
            return Ok(());
        }
        let request = Request::JoinToken {
            ttl_secs,
            uses: args.uses,
        };
        let answer = match ctx.call(request).await {
            // The daemon refuses in a sentence; where and since when the authority is, the keys tell.
            Err(error) if error.kind == Kind::Refused => {
                with_authority(ctx).await?;
                return Err(error);
            }
            other => other?,
        };
        match answer {
            Response::Token(token) => {
                let document =
                    json!({ "token": token.0, "ttl_seconds": ttl_secs, "uses": args.uses });
                ctx.ui.document("JoinToken", &document)?;
                ctx.ui.line(&token.0);
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    };
    work.await.map_err(|error| error.about("join-token"))
}

fn parse_ttl(text: &str) -> Result<u64> {
    let error = || {
        Error::usage(format!("--ttl '{text}' is no time"))
            .hint("a number and one of s m h d, for example 30m")
    };
    let (number, factor) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    let secs = number.checked_mul(factor).ok_or_else(error)?;
    if secs == 0 { Err(error()) } else { Ok(secs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_ttl("90").unwrap(), 90);
        assert_eq!(parse_ttl("30m").unwrap(), 1800);
        assert_eq!(parse_ttl("2d").unwrap(), 172_800);
        for bad in ["", "h", "0", "1w", "-1h", "99999999999999999999d"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }
}
