//! The syntax of templates, in names and in texts: `@{var}`, `@escvar{var}`, `@esc{text}`, `@eval{macro text}`,
//! `@verbatim{text}`, and in names `^{var}`.

use crate::limits::UNIT_BRACES_MAX;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As it stands.
    Text(String),
    /// `@{var}`: the value of a variable.
    Var(String),
    /// `@escvar{var}`: the value as a part of a unit's name.
    EscapedVar(String),
    /// `@esc{..}`: a text as a part of a unit's name; variables in it are replaced first.
    Escaped(Vec<(usize, Piece)>),
    /// `@eval{..}`: what the macro language makes of the text.
    Eval(String),
    /// `^{var}`, in names only: any text, which becomes the value of the variable.
    Any(String),
}

/// What is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Counted from 1.
    pub(crate) line: usize,
    /// The reason.
    pub(crate) why: String,
}

/// What begins with `@`, the longest ones first.
const WORDS: [&str; 5] = ["verbatim", "escvar", "eval", "esc", ""];

/// Takes a template apart; each piece with the line on which it begins. `name` is whether it is a name.
///
/// # Errors
/// A brace that is not closed, or a name of a variable that is none.
pub(crate) fn parse(text: &str, name: bool) -> Result<Vec<(usize, Piece)>, Flaw> {
    parse_at(text, name, 1, 0)
}

fn parse_at(
    text: &str,
    name: bool,
    first: usize,
    depth: usize,
) -> Result<Vec<(usize, Piece)>, Flaw> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let (mut line, mut plain_line) = (first, first);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = match c {
            '@' => WORDS.into_iter().find(|word| {
                let after = rest[1..].strip_prefix(word);
                after.is_some_and(|after| after.starts_with('{'))
            }),
            '^' if name && rest[1..].starts_with('{') => Some("^"),
            _ => None,
        };
        let Some(word) = word else {
            if plain.is_empty() {
                plain_line = line;
            }
            plain.push(c);
            line += usize::from(c == '\n');
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let open = rest.find('{').unwrap_or_default();
        let inner = group(&rest[open..]).ok_or_else(|| Flaw {
            line,
            why: format!("the brace of {} is not closed", &rest[..=open]),
        })?;
        if !plain.is_empty() {
            pieces.push((plain_line, Piece::Text(std::mem::take(&mut plain))));
        }
        let variable = || variable(inner).map_err(|why| Flaw { line, why });
        let piece = match word {
            "verbatim" => Piece::Text(inner.to_owned()),
            "escvar" => Piece::EscapedVar(variable()?),
            "eval" => Piece::Eval(inner.to_owned()),
            "esc" if depth >= UNIT_BRACES_MAX => {
                let why = format!("@esc is nested more than {UNIT_BRACES_MAX} levels deep");
                return Err(Flaw { line, why });
            }
            "esc" => Piece::Escaped(parse_at(inner, false, line, depth + 1)?),
            "^" => Piece::Any(variable()?),
            _ => Piece::Var(variable()?),
        };
        pieces.push((line, piece));
        line += inner.matches('\n').count();
        rest = &rest[open + inner.len() + 2..];
    }
    if !plain.is_empty() {
        pieces.push((plain_line, Piece::Text(plain)));
    }
    Ok(pieces)
}

/// The inside of the brace group with which the text begins.
fn group(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(1..at);
        }
    }
    None
}

fn variable(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.is_empty() || text.len() > 100 || !text.chars().all(good) {
        return Err(format!(
            "'{}' is no name of a variable",
            mars_meta_model::escaped(text)
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, name: bool) -> Vec<Piece> {
        let parsed = parse(text, name).unwrap();
        parsed.into_iter().map(|(_, piece)| piece).collect()
    }

    #[test]
    fn all_forms_are_known() {
        let text = |t: &str| Piece::Text(t.to_owned());
        assert_eq!(
            pieces("a@{res}b@escvar{host}c@eval{%{x}{y}}@verbatim{@{z}}", false),
            [
                text("a"),
                Piece::Var("res".into()),
                text("b"),
                Piece::EscapedVar("host".into()),
                text("c"),
                Piece::Eval("%{x}{y}".into()),
                text("@{z}"),
            ]
        );
        assert_eq!(
            pieces("@esc{/mnt/@{res}}", false),
            [Piece::Escaped(vec![
                (1, text("/mnt/")),
                (1, Piece::Var("res".into()))
            ])]
        );
        assert_eq!(
            pieces("^{a}.mount", true),
            [Piece::Any("a".into()), text(".mount")]
        );
        assert_eq!(
            pieces("^{a} foo@.service a@b", false),
            [text("^{a} foo@.service a@b")]
        );
    }

    #[test]
    fn flaws_name_their_line() {
        for (bad, line, why) in [
            ("a\n\n@{res", 3, "not closed"),
            ("@eval{%{x}", 1, "not closed"),
            ("\n@{a b}", 2, "no name of a variable"),
            ("\n@{}", 2, "no name of a variable"),
            ("@esc{\n@{*}}", 2, "no name of a variable"),
        ] {
            let flaw = parse(bad, false).unwrap_err();
            assert_eq!(flaw.line, line, "{bad}");
            assert!(flaw.why.contains(why), "{bad}: {}", flaw.why);
        }
        let deep = "@esc{".repeat(30) + &"}".repeat(30);
        assert!(parse(&deep, false).unwrap_err().why.contains("levels deep"));
    }
}
