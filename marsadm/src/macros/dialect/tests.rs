//! Patterns as Perl takes them: expected values are those of Perl 5.36.

use super::*;
use regex::bytes::RegexBuilder;

fn flags(options: &str) -> Flags {
    Flags {
        lines: options.contains('m'),
        dot_all: options.contains('s'),
        fold: options.contains('i'),
        loose: options.contains('x'),
        keep_none: false,
    }
}

/// The first match of a pattern.
fn first(pattern: &str, options: &str, text: &str) -> Option<(usize, usize)> {
    let translated =
        translate(pattern, flags(options)).unwrap_or_else(|why| panic!("{pattern}: {why}"));
    let regex = RegexBuilder::new(&translated)
        .unicode(false)
        .line_terminator(LAST_NEWLINE)
        .build()
        .unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let text = marked(text);
    let found = regex.find(&text)?;
    Some((found.start(), found.end()))
}

type Place = Option<(usize, usize)>;

/// A pattern, its options, a text, and where Perl 5.36 finds the pattern in it.
const OF_PERL: &[(&str, &str, &str, Place)] = &[
    ("[^[]+", "", "[ab[", Some((1, 3))),
    ("[[]", "", "a[", Some((1, 2))),
    ("[]a]", "", "b]", Some((1, 2))),
    ("[^]a]+", "", "]ab", Some((2, 3))),
    ("[a&&b]", "", "&", Some((0, 1))),
    ("[+--]", "", ",", Some((0, 1))),
    ("[~~]", "", "~", Some((0, 1))),
    ("[a\\-z]", "", "-", Some((0, 1))),
    ("[a-\\d]+", "", "x-1", Some((1, 3))),
    ("[[:alpha:][:digit:]]+", "", "-a1-", Some((1, 3))),
    ("[[:^alpha:]]", "", "a1", Some((1, 2))),
    ("[[:alpha]+", "", ":[", Some((0, 2))),
    ("[[:a]", "", ":", Some((0, 1))),
    ("[\\]\\\\]+", "", "a]\\", Some((1, 3))),
    ("[\\b]", "", "a\u{8}", Some((1, 2))),
    ("[\\101]", "", "A", Some((0, 1))),
    ("[\\x41-C]+", "", "xABC", Some((1, 4))),
    ("[\\h]", "", "a b", Some((1, 2))),
    ("[é]", "", "aé", Some((1, 2))),
    ("é*", "", "éé", Some((0, 2))),
    ("a\\<b\\>", "", "a<b>", Some((0, 4))),
    ("a\\hb", "", "a b", Some((0, 3))),
    ("a\\{", "", "a{", Some((0, 2))),
    ("a{", "", "a{", Some((0, 2))),
    ("a{,", "", "a{,", Some((0, 3))),
    ("a{1,b}", "", "a{1,b}", Some((0, 6))),
    ("x{}", "", "x{}", Some((0, 3))),
    ("{1}", "", "a{1}", Some((1, 4))),
    ("{,3}", "", "{,3}", Some((0, 4))),
    ("a{,2}", "", "aaa", Some((0, 2))),
    ("a{ 1, 2 }", "", "aaa", Some((0, 2))),
    ("a{2}", "", "aaa", Some((0, 2))),
    ("a{2,}", "", "aaa", Some((0, 3))),
    ("a{1,2}?", "", "aaa", Some((0, 1))),
    ("a+?b*?c??", "", "aabc", Some((0, 1))),
    ("a}b]", "", "a}b]", Some((0, 4))),
    ("\\w{1,10}", "", "-mydata", Some((1, 7))),
    ("h..llo", "", "héllo", Some((0, 6))),
    ("^h..llo$", "", "héllo", Some((0, 6))),
    (".", "", "é", Some((0, 1))),
    ("[^a]+", "", "aéb", Some((1, 4))),
    ("\\W+", "", "aéb", Some((1, 3))),
    ("c$", "", "abc\n", Some((2, 3))),
    ("c$", "", "abc\nc", Some((4, 5))),
    ("c$", "m", "abc\nc", Some((2, 3))),
    ("c\\Z", "", "abc\n", Some((2, 3))),
    ("c\\Z", "m", "abc\nc\n", Some((4, 5))),
    ("c\\z", "", "abc\n", None),
    ("\\n$", "", "a\n\n", Some((1, 2))),
    ("$", "", "\n", Some((0, 0))),
    ("^$", "", "\n", Some((0, 0))),
    ("^$", "m", "a\n", None),
    ("^$", "m", "a\n\nb", Some((2, 2))),
    ("^", "m", "", Some((0, 0))),
    ("\\n^", "m", "a\nb", Some((1, 2))),
    ("\\n^", "m", "a\n", None),
    ("^b", "m", "a\nb", Some((2, 3))),
    ("^b", "", "a\nb", None),
    ("\\Ab", "m", "a\nb", None),
    ("a.b", "", "a\nb", None),
    ("a.b", "s", "a\nb", Some((0, 3))),
    ("a\\Nb", "s", "a\nb", None),
    (".$", "", "a\n", Some((0, 1))),
    (".$", "s", "a\n", Some((0, 1))),
    ("\\s+", "", "a \n", Some((1, 3))),
    ("\\s\\Z", "", "a\n", Some((1, 2))),
    ("\\S+$", "", "ab\n", Some((0, 2))),
    ("[^b]+", "", "a\n", Some((0, 2))),
    ("[^b]$", "", "a\n", Some((0, 1))),
    ("\\R", "", "a\r\nb", Some((1, 3))),
    ("\\Ra", "", "\r\na", Some((0, 3))),
    ("\\r\\n", "", "a\r\n", Some((1, 3))),
    ("\\r?$", "", "a\r\n", Some((1, 2))),
    ("^b", "m", "a\rb", None),
    ("a$", "m", "a\rb", None),
    (".+", "", "a\rb", Some((0, 3))),
    ("[^\\n]+", "", "a\rb", Some((0, 3))),
    ("\\v", "", "a\n", Some((1, 2))),
    ("a b", "x", "ab", Some((0, 2))),
    ("a +b", "x", "aab", Some((0, 3))),
    ("a\\ b", "x", "a b", Some((0, 3))),
    ("[ ]", "x", "a b", Some((1, 2))),
    ("a#b", "x", "a", Some((0, 1))),
    ("a # b\n c", "x", "ac", Some((0, 2))),
    ("(?x: a b )c d", "", "abc d", Some((0, 5))),
    ("AB", "i", "ab", Some((0, 2))),
    ("[a-c]+", "i", "AbC", Some((0, 3))),
    ("[^a]", "i", "Ab", Some((1, 2))),
    ("[[:upper:]]", "i", "a", Some((0, 1))),
    ("[^[:upper:]]", "i", "a1", Some((1, 2))),
    ("[[:^upper:]]", "i", "a1", Some((1, 2))),
    ("É", "i", "é", None),
    ("(?i)a(?-i)b", "", "AB", None),
    ("(?i)a(?-i)b", "", "Ab", Some((0, 2))),
    ("(a(?i)b|c)C", "", "C", None),
    ("(a(?i)b|c)C", "", "cC", Some((0, 2))),
    ("(?i:a)b", "", "Ab", Some((0, 2))),
    ("(?^:a)", "i", "A", None),
    ("(?^i:a)", "", "A", Some((0, 1))),
    ("(?s-i:.)", "", "\n", Some((0, 1))),
    ("(?#x)a", "", "xa", Some((1, 2))),
    ("(?<n>a)(?'m'b)(?P<o>c)", "", "abc", Some((0, 3))),
    ("(?n:(a))b", "", "ab", Some((0, 2))),
    ("(|a)b", "", "ab", Some((0, 2))),
    ("(a|ab)(c|bcd)", "", "abcd", Some((0, 4))),
    ("(?:)*a", "", "a", Some((0, 1))),
    ("^*a", "", "a", Some((0, 1))),
    ("\\b+a", "", "a", Some((0, 1))),
    ("\\bé", "", "aé", Some((1, 3))),
    ("\\be\\b", "", "a e-", Some((2, 3))),
    ("\\Bb", "", "ab", Some((1, 2))),
    ("\\.\\/\\-\\_", "", "./-_", Some((0, 4))),
    ("\\q", "", "q", Some((0, 1))),
    ("\\Qa", "", "Qa", Some((0, 2))),
    ("\\x41\\x{42}\\x{043}", "", "ABC", Some((0, 3))),
    ("\\x{100}?a", "", "a", Some((0, 1))),
    ("\\x", "", "\u{0}", Some((0, 1))),
    ("\\0101", "", "\u{8}1", Some((0, 2))),
    ("\\012", "", "\n", Some((0, 1))),
    ("\\101", "", "A", Some((0, 1))),
    ("\\10", "", "\u{8}", Some((0, 1))),
    ("\\o{101}", "", "A", Some((0, 1))),
    ("\\cA\\c?", "", "\u{1}\u{7f}", Some((0, 2))),
    ("\\t\\r\\f\\e\\a", "", "\t\r\u{c}\u{1b}\u{7}", Some((0, 5))),
    ("\\N{U+41}", "", "A", Some((0, 1))),
    ("\\N{2}", "", "ab", Some((0, 2))),
    ("\\d\\D\\w\\W", "", "1a1-", Some((0, 4))),
    ("(a){0}b", "", "ab", Some((1, 2))),
    (".*?,.*", "", "a,b,c", Some((0, 5))),
    ("x|", "", "y", Some((0, 0))),
    (
        "^.* CONNECTED .*\\n+",
        "m",
        "a CONNECTED b\n",
        Some((0, 14)),
    ),
    (
        "^.* CONNECTED .*\\n+",
        "m",
        "x\na CONNECTED b\n\n",
        Some((2, 17)),
    ),
    ("^(.+)$", "m", "abc\n", Some((0, 3))),
    ("DISK_ERROR=[^ ]+ ", "", "DISK_ERROR=-5[x] y", Some((0, 17))),
    ("(a*)*", "", "aab", Some((0, 2))),
    ("(a*)+b", "", "aab", Some((0, 3))),
    ("(a|b*)*c", "", "abbac", Some((0, 5))),
    ("$a", "", "$a", None),
    ("a$b", "", "a$b", None),
    ("@a", "", "@a", Some((0, 2))),
];

#[test]
fn patterns_are_those_of_perl() {
    for (pattern, options, text, place) in OF_PERL {
        let found = first(pattern, options, text);
        assert_eq!(found, *place, "{pattern} {options} {text:?}");
    }
}

#[test]
fn what_is_not_known_is_said() {
    for (pattern, why) in [
        ("a\\Kb", "`\\K` is not known; keep what"),
        ("(?=a)", "look-around is not known"),
        ("(?<!a)", "look-around is not known"),
        ("(a)\\1", "back references are not known"),
        ("(?<n>a)\\k<n>", "back references are not known"),
        ("(a)\\g1", "back references are not known"),
        ("(?P=n)", "references to groups are not known"),
        ("(?R)", "references to groups are not known"),
        (
            "(?>a)",
            "groups that give nothing back, `(?>`, are not known",
        ),
        ("(?|a)", "`(?|`, are not known"),
        ("(?(1)a)", "conditions are not known"),
        ("(?{die})", "code in patterns is not known"),
        ("(*FAIL)", "verbs such as `(*FAIL)` are not known"),
        ("a++", "`++`, which gives nothing back, is not known"),
        ("a{2}+", "`{2}+`, which gives nothing back"),
        ("a**", "`*` follows another quantifier"),
        ("a{2}{3}", "`{3}` follows another quantifier"),
        ("*a", "nothing stands before the quantifier `*`"),
        ("a|+", "nothing stands before the quantifier `+`"),
        ("(?", "a `(?` has no end"),
        ("(?U)a", "`(?` with `U` is not known"),
        ("(?#a", "has no end"),
        ("(?<1>a)", "no word"),
        ("(a", "a `(` has no `)`"),
        ("a)", "a `)` has no `(`"),
        ("[a", "a `[` has no `]`"),
        ("[]", "a `[` has no `]`"),
        ("[z-a]", "the range `z-a` ends before it begins"),
        ("[[:foo:]]", "there is no set `[:foo:]`"),
        ("[[.a.]]", "are not known"),
        ("a\\", "a backslash ends it"),
        ("\\pL", "`\\p`, which asks for properties"),
        ("\\b{wb}", "kinds of bounds"),
        ("\\N{SPACE}", "names of characters"),
        ("a{70000}", "a number beyond 65535"),
        ("a{3,1}", "the larger number first"),
    ] {
        let told = translate(pattern, Flags::default()).expect_err(pattern);
        assert!(told.contains(why), "{pattern}: {told}");
    }
}

/// Whatever is written: an answer, and one that the crate takes.
#[test]
fn no_pattern_is_translated_into_a_wrong_one() {
    let parts = [
        "a",
        "é",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?^x: ",
        "[",
        "]",
        "^",
        "$",
        "|",
        "*",
        "+?",
        "{1,2}",
        "{",
        "}",
        "\\",
        "\\d",
        "[:alpha:]",
        "-",
        ",",
        "\\Z",
        ".",
        " ",
        "#",
        "\n",
        "\\b",
        "&&",
        "~~",
    ];
    let mut seed = 0x1234_5678_u32;
    let mut good = 0;
    for _ in 0..20_000 {
        let mut pattern = String::new();
        let mut options = String::new();
        for i in 0..7 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = usize::try_from(seed >> 16).unwrap();
            if i == 0 {
                options.push(char::from(b"msixg"[index % 5]));
            }
            pattern.push_str(parts[index % parts.len()]);
        }
        if let Ok(translated) = translate(&pattern, flags(&options)) {
            good += 1;
            let built = RegexBuilder::new(&translated)
                .unicode(false)
                .line_terminator(LAST_NEWLINE)
                .build();
            assert!(built.is_ok(), "{pattern} {options}: {translated}");
        }
    }
    assert!(good > 1000, "{good}");
}
