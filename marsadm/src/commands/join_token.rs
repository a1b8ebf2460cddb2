//! `join-token`: tokens by which other nodes may join.

use super::ca::with_authority;
use super::since::moment;
use crate::context::{Ctx, unexpected};
use crate::error::{Error, Kind, Result};
use crate::shown::shown;
use crate::status::ago;
use crate::wall;
use mars_lamport::Timestamp;
use mars_meta_api::{Request, Response, TokenInfo};
use serde_json::json;

/// Digits of the number of a token.
const ID_DIGITS: usize = 16;

/// Print a token by which other nodes may join this cluster. Keep it secret: who has it can join until it expires, is used
/// up, or is revoked here: a token is known to the node that issued it.
///
/// Example: marsadm join-token --ttl 30m --uses 2 > token
/// Example: marsadm join-token --list
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// How long the token is valid: a number and one of s m h d
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub ttl: String,
    /// How many nodes may use it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: u32,
    /// List the tokens of this node that have not expired, without their secrets
    #[arg(long, conflicts_with_all = ["ttl", "uses"])]
    pub list: bool,
    /// Revoke the token with this number: nobody joins by it any more
    #[arg(long, value_name = "ID", conflicts_with_all = ["ttl", "uses", "list"])]
    pub revoke: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A wrong time, or the daemon's refusal.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        if args.list {
            return list(ctx).await;
        }
        if let Some(id) = &args.revoke {
            return revoke(ctx, id).await;
        }
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
                let id = number(&token.0);
                let document = json!({
                    "token": token.0, "id": id, "ttl_seconds": ttl_secs, "uses": args.uses
                });
                let named = id.as_deref().unwrap_or("ID (--list shows it)");
                ctx.ui.when_lost(&format!(
                    "nobody has read the token, yet it is valid: marsadm join-token --revoke {named} takes it back; then \
                     make room where stdout goes, and draw another one"
                ));
                ctx.ui.document("JoinToken", &document)?;
                ctx.ui.line(&token.0);
                if let Some(id) = id {
                    ctx.ui.note(&format!(
                        "to take it back: marsadm join-token --revoke {id}"
                    ));
                }
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    };
    work.await.map_err(|error| error.about("join-token"))
}

async fn tokens(ctx: &Ctx) -> Result<Vec<TokenInfo>> {
    match ctx.call(Request::ListTokens).await? {
        Response::Tokens(tokens) => Ok(tokens),
        other => Err(unexpected(&other)),
    }
}

async fn list(ctx: &Ctx) -> Result<()> {
    let tokens = tokens(ctx).await?;
    let documents: Vec<_> = tokens
        .iter()
        .map(|token| {
            json!({
                "id": token.id, "expires": token.expires, "uses_left": token.uses_left,
                "admitted": token.admitted, "revoked": token.revoked, "note": token.note,
            })
        })
        .collect();
    ctx.ui.items("IssuedToken", &documents)?;
    let now = wall::now().secs();
    for token in &tokens {
        ctx.ui.line(&shown(&line(token, now)));
    }
    if tokens.is_empty() {
        ctx.ui
            .note("this node has issued no token that has not expired");
    }
    Ok(())
}

/// A token in one line.
fn line(token: &TokenInfo, now: u64) -> String {
    let state = match token.revoked {
        Some(at) => format!("revoked {} ago", ago(now.saturating_sub(at))),
        None => format!(
            "expires in {}, {} left",
            ago(token.expires.saturating_sub(now)),
            match token.uses_left {
                1 => "1 use".to_owned(),
                uses => format!("{uses} uses"),
            }
        ),
    };
    let admitted = match &token.admitted[..] {
        [] => String::new(),
        hosts => format!(", admitted {}", hosts.join(" ")),
    };
    let note = match &token.note {
        Some(note) => format!("; {note}"),
        None => String::new(),
    };
    format!("{}  {state}{admitted}{note}", token.id)
}

async fn revoke(ctx: &Ctx, id: &str) -> Result<()> {
    if id.is_empty() || id.len() > ID_DIGITS || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        let why = format!("--revoke '{}' is no number of a token", shown(id));
        return Err(Error::usage(why).hint(format!(
            "it has {ID_DIGITS} hexadecimal digits: marsadm join-token --list shows them"
        )));
    }
    let issued = tokens(ctx).await?;
    let Some(token) = issued.iter().find(|token| token.id == id) else {
        let why = format!("this node has issued no join token {id} that has not expired");
        return Err(Error::not_found(why).hint(
            "marsadm join-token --list shows the tokens of this node; others are known to the node that issued them",
        ));
    };
    if let Some(at) = token.revoked {
        let since = moment(Timestamp::from_parts(at, 0), wall::now());
        let why = format!("the join token {id} is revoked, {since}");
        return Err(Error::refused(why).hint("nothing is left to be done"));
    }
    if ctx.opts.dry_run {
        ctx.ui.note(&format!("would revoke the token {id}"));
        return Ok(());
    }
    let request = Request::RevokeToken { id: id.to_owned() };
    match ctx.call(request).await? {
        Response::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// The number of a token, by which its issuer finds it: 8 bytes behind 48 others, in base64 (`docs/spec/identity.md`).
fn number(token: &str) -> Option<String> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let body = token.strip_prefix("mars1.")?;
    let mut bits = 0_u128;
    for char in body.get(64..75)?.chars() {
        bits = bits << 6 | u128::try_from(ALPHABET.find(char)?).ok()?;
    }
    Some(format!("{:016x}", bits >> 2))
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
    fn a_token_shows_its_number() {
        // The worked example of docs/spec/identity.md.
        let spec = include_str!("../../../docs/spec/identity.md");
        let token = spec
            .lines()
            .find(|line| line.starts_with("    mars1."))
            .unwrap();
        assert_eq!(number(token.trim()).as_deref(), Some("0102030405060708"));
        assert_eq!(number("mars2.AAAA"), None);
        assert_eq!(number("mars1.AAAA"), None);
    }

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
