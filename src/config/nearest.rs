//! The known name that is closest to a mistyped one.

/// Returns the candidate with the fewest edits to `name`, if it is near enough to be meant.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let (edits, best) = candidates
        .into_iter()
        .map(|candidate| (edits_to(name, candidate), candidate))
        .min_by_key(|(edits, _)| *edits)?;
    (edits <= edits_max(name)).then_some(best)
}

/// Counts the edits to a full key; the right key in a wrong section is one edit away.
fn edits_to(name: &str, candidate: &str) -> usize {
    let whole = distance(name, candidate);
    let by_key = distance(last_part(name), last_part(candidate)) + 1;
    if candidate.contains('.') { whole.min(by_key) } else { whole }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Allows about one wrong character in three, and two in a short name.
fn edits_max(name: &str) -> usize {
    (last_part(name).chars().count() / 3).max(2)
}

/// Counts insertions, removals, replacements and swaps of neighbours (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(CHARACTERS_MAX).collect();
    let right: Vec<char> = right.chars().take(CHARACTERS_MAX).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut current = vec![row];
        for column in 1..=right.len() {
            let same = left[row - 1] == right[column - 1];
            let replaced = last[column - 1] + usize::from(!same);
            let mut best = replaced.min(last[column] + 1).min(current[column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if swapped {
                best = best.min(before_last[column - 2] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

/// Longest part of a name that is compared; no key comes near it.
const CHARACTERS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (left, right, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("max_limt", "max_limit", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), edits, "{left} {right}");
            assert_eq!(distance(right, left), edits, "{right} {left}");
        }
    }

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not() {
        let keys = ["relay.name", "limits.max_limit", "limits.default_limit", "server.listen"];
        for (name, expected) in [
            ("limits.max_limt", Some("limits.max_limit")),
            ("limit.max_limit", Some("limits.max_limit")),
            ("server.max_limit", Some("limits.max_limit")),
            ("name", Some("relay.name")),
            ("server.lisetn", Some("server.listen")),
            ("server.colour_of_the_sky", None),
        ] {
            assert_eq!(nearest(name, keys), expected, "{name}");
        }
    }
}
