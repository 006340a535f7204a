//! Randomness that can be repeated: every random test prints its seed and takes one.

/// Returns a generator seeded by `CHAPPE_SEED`, else by the clock; prints the seed.
///
/// The test runner shows what a failed test printed, so the line appears exactly when needed.
pub(crate) fn seeded(test: &str) -> fastrand::Rng {
    let seed = match std::env::var("CHAPPE_SEED") {
        Ok(text) => text.parse().expect("CHAPPE_SEED is a whole number"),
        Err(_) => fastrand::u64(..1_000_000_000),
    };
    println!("{test}: repeat with CHAPPE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Picks one of several values.
pub(crate) fn pick<'a, T>(random: &mut fastrand::Rng, choices: &'a [T]) -> &'a T {
    &choices[random.usize(..choices.len())]
}
