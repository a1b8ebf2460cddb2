//! "Did you mean": the known names that are most like a wrong one.

/// Most names that a message lists.
const LISTED_MAX: usize = 8;

/// How many single changes turn one text into the other; a swap of neighbours is one.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let changed = last[j] + usize::from(ca != cb);
            let mut best = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *ca == b[j - 1] && a[i - 1] == *cb {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The names that `wrong` may have been meant for, those that are all equally like it; at most three.
#[must_use]
pub fn similar<'a>(wrong: &str, known: &'a [String]) -> Vec<&'a str> {
    let wrong = wrong.to_lowercase();
    let mut found: Vec<(usize, &str)> = known
        .iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let far = distance(&wrong, &lower);
            let limit = wrong.chars().count().max(lower.chars().count()) / 3;
            (far <= limit).then_some((far, name.as_str()))
        })
        .collect();
    found.sort_unstable();
    let best = found.first().map_or(0, |(far, _)| *far);
    found.retain(|(far, _)| *far == best);
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// A hint that names what was probably meant, else all there are: `did you mean a?` or `WHAT: a b c`.
#[must_use]
pub fn hint(what: &str, wrong: &str, known: &[String]) -> String {
    let near = similar(wrong, known);
    if !near.is_empty() {
        return format!("did you mean {}?", near.join(" or "));
    }
    if known.len() > LISTED_MAX {
        let shown = known[..LISTED_MAX].join(" ");
        return format!("{what}: {shown} and {} more", known.len() - LISTED_MAX);
    }
    format!("{what}: {}", known.join(" "))
}

/// How the key ends by which a node says that its store was lost, and that nobody can refill it.
pub(crate) const STORE_LOST: &str = "/msg-store-lost";

/// What to do where there is no resource at all. `lost`: a node says that its store was lost.
pub(crate) const fn no_resources(lost: bool) -> &'static str {
    if lost {
        "the metadata was lost (marsadm status): start a node that still has its store, or read one back (marsadm meta export \
         --store DIR FILE, marsadm meta import FILE)"
    } else {
        "there are no resources yet: marsadm create-resource"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_typing() {
        for (a, b, far) in [
            ("", "", 0),
            ("abc", "", 3),
            ("primary", "primary", 0),
            ("primry", "primary", 1),
            ("primarz", "primary", 1),
            ("prmiary", "primary", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), far, "{a} {b}");
            assert_eq!(distance(b, a), far, "{b} {a}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known: Vec<String> = ["mydata", "mydata2", "web", "db"].map(String::from).into();
        assert_eq!(similar("mydta", &known), ["mydata"]);
        assert_eq!(similar("WEB", &known), ["web"]);
        assert!(similar("da", &known).is_empty(), "too short to tell");
        assert!(similar("postgres", &known).is_empty());
        assert_eq!(hint("resources", "wbe", &known), "did you mean web?");
        assert_eq!(
            hint("resources", "postgres", &known),
            "resources: mydata mydata2 web db"
        );
    }
}
