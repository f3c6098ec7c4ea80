//! The name that was probably meant.

/// The known name nearest to the one given, where one is near: a letter, and one more for every four, may differ, case
/// aside.
pub(crate) fn nearest<K: AsRef<str>>(given: &str, known: impl IntoIterator<Item = K>) -> Option<K> {
    let limit = 1 + given.trim_start_matches('-').chars().count() / 4;
    known
        .into_iter()
        .map(|name| (distance(given, name.as_ref()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Letters to insert, delete or replace to make one text of the other (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
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
        for (a, b, n) in [("", "", 0), ("abc", "aBc", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (n, n), "{a} {b}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["--record", "--report", "--host"];
        assert_eq!(nearest("--recrod", known), Some("--record"));
        assert_eq!(nearest("--reprot", known), Some("--report"));
        assert_eq!(nearest("--agui-upstream", known), None);
    }
}
