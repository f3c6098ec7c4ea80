//! The name that was probably meant.

/// The known name nearest to the one given, where one is near: a third of its letters may differ.
pub(super) fn nearest(given: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    let limit = given.trim_start_matches('-').chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|name| (distance(given, &name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Letters to insert, delete or replace to make one text of the other (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_letters() {
        for (a, b, n) in [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (n, n), "{a} {b}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["--record", "--report", "--host"].map(str::to_owned);
        assert_eq!(nearest("--recrod", known.clone()).as_deref(), Some("--record"));
        assert_eq!(nearest("--reprot", known.clone()).as_deref(), Some("--report"));
        assert_eq!(nearest("--agui-upstream", known), None);
    }
}
