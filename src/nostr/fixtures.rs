//! Signed events made by an independent implementation, as JSON texts; test code only.
//!
//! The secret keys are small integers. `S4V` is hashed over control characters themselves, `S5T`
//! wrongly over `\u007f`, `U1` over an upper-case author.

/// Content `hello`.
pub(crate) const S1: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"hello","id":"bde202ea7642ff9910600c7edc948a1f4220f0cbf5e4fb2b7efafa681bbb5285","sig":"96ee7a4ebef51f83993655f363518c1676d9b0acee1473002955f0aaaeea823501b0142575ed2c37a54c91a3f6d293b2ba279447948c83f71d4385d372be8d52"}"#;

/// Content with all seven short escapes.
pub(crate) const S2: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"lf\n dq\" bs\\ cr\r tab\t bsp\b ff\f end","id":"4068d3ee288bab337a520729ef13de2c0699643a8a8b6bfc51d5a4ab23abf6ab","sig":"013254dace5cd17b10c2558528d7966a91ad253f9bb7e395b98b675b198477bf36600c104ce6cd3602cc81f636e5ceefe277c60618910ed58c4ecd1cc7365831"}"#;

/// Content with raw and escaped text outside ASCII, and a byte order mark.
pub(crate) const S3: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"a/b \u00e9 \u65e5\u672c \ud83d\ude00 \u2028 \u2029 \ufeff","id":"5a34c6fff35cdb669874b244975e363dc4152843b94d55098e683047fe1c25e9","sig":"687b62ac47f379dbc12ac4f6edcd6398796a96a964265b9b8141a8462b3a417517ca755d8ae64298f68c4b719877ee690593678fbd90c1500616bb22217e06b2"}"#;

/// Control characters, hashed in their escaped form.
pub(crate) const S4: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"ctl\u0001\u001fend","id":"22768777f3f52d4b4520f9f0195a2e7b976370d8e84ea8c3079ec8037f2aaf77","sig":"114eff92d9568f5b588ee671dedb6a5ff442900e244489b616b06cd1298b3ef1818f1d5186c6a6e58454bbcef84abe28425cc85672acb1afeeb2201eb058889a"}"#;

/// Control characters, hashed as they are.
pub(crate) const S4V: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"ctl\u0001\u001fend","id":"fb5475a74b19a19c1aa459a98ddd1df3abf3d0ea09f524367666e8d41be6e2de","sig":"8119cf0901322110b6feb9f3fef033d1b47e02ca99b7f302ef047afe51cff8e199db6df21d6b50623daf04cc77c503e4c27d11634a76d2088f0fbbbfc354066a"}"#;

/// U+007F, hashed as it is.
pub(crate) const S5: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"del\u007fend","id":"8fa261c58f5928451b18b065ef35d7a330b144488a46e209153304ae50ff65ef","sig":"b2da68be5139f4cc2dddf64b27d64bdb9436e6e7f146b4f73f0893273084e8e8b798a4224499eed45141eff524222260a0a80110ec78b10119eabbbaeffc3985"}"#;

/// U+007F, hashed as an escape: not valid.
pub(crate) const S5T: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"del\u007fend","id":"73d46067fa3a3c987090287711ac75189cc7160174a2ec356702395b6ee7cb87","sig":"a498ba92d7b530d4f24fe46c0acdac48362372ecde08204c06e590127b7c6cd4a56658de46550f88a78c54a98ec92c5cfea8b4d6356e8972af7c0ddeefdfd532"}"#;

/// A NUL character.
pub(crate) const S6: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"nul\u0000end","id":"65846fd325a713efaadf81ece6753253e303b860a031333c78f361eef292fe4b","sig":"84376182912453bf8187c0780360e624b45864fc68ee0bfaf8b075fd2cf2c0c8462213477c59a3f792323e4144a123238bafaf06ed5c7fd5ea64fab82fa23c58"}"#;

/// Tags that need escapes, and an empty value.
pub(crate) const S7: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[["t","a\"b\\c\n"],["x",""]],"content":"t","id":"159d8dec53e3c38dbc16acdfd1cb803e7dccd56c3e7adc2ef8827ae9194f6e4e","sig":"ba5a70248fab52fe4b79282d9b6289093d1a0921f6a452ce8886be7738380e89593c88213f1ce06bec968005ec4e91dda62e9799ecad1f8053b87d616ea1168d"}"#;

/// Two characters that Unicode calls no characters.
pub(crate) const S8: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"\ufdd1\udbff\udff2","id":"8f3e7fd1b24f71db89976121c9b9f6609a89dc9b11210136c790cd9d3c074dec","sig":"612e0bf58fc973e5837b55b3f6d30df8f0382350eb34bca094ca122bfe34f9ea3112476473ad950dcaf5994291dbed834d53c4abdb6260b322e7a2586d288979"}"#;

/// Composed and decomposed letters.
pub(crate) const S9: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"e\u0301 vs \u00e9","id":"8512bf5317c306ea09d8c421c91928b33f3f47609f39a37888052a0abbec91f8","sig":"29db1346e7b82df56ca3f7a2d24ab4d30426bac714a0e075e4399c3c028c409ca15d1c8628815fe56e3b3c6fc3007fe18cc7b0ec40c2ff7af56e5365809316b5"}"#;

/// A surrogate pair.
pub(crate) const S10: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[],"content":"\ud83d\ude00","id":"4f41aba7a710e86a7eb80f7f6da9afae67f15da9cf7c5a0fc361876ced34b69d","sig":"60c7f7470d03c44ab07a92a4080409373bc173eedee2e61199df56002bbc9ae8895c8fbf2c2974ca6276ca3ccaefba67cde26910c8553eab473b38e6e2040e0b"}"#;

/// An author in upper case, hashed like that: not an event.
pub(crate) const U1: &str = r#"{"pubkey":"79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798","created_at":1700000000,"kind":1,"tags":[],"content":"hello","id":"0acfc1e0b4235a03109c82717e7dfff39b5f3cc323573c127f11d0c1896028c3","sig":"43ff4605f6303615e873bda1045f9b525df221e2394c40ea3b99dbdd6a911fdf305de076150cf4eb24cb65e65fa31421419944390a83f0bf89be4e4da6dfb406"}"#;

/// Replaceable, the lower id of two at the same time.
pub(crate) const RL: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":10000,"tags":[],"content":"c0","id":"35a4a83858b71ebba69de9947b7827f0583f2b39470bf7160b350fe65fb9d469","sig":"1036febd43a5b91602a34621270e84250292c61cbb10b5aa2008047989b075c1c643dbc8412b3e3e14b1bec158a59fae4511bc27bc0ff5ce3676ca46c95e5232"}"#;

/// Replaceable, the higher id of two at the same time.
pub(crate) const RH: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":10000,"tags":[],"content":"c4","id":"facca98f0c10dbbd3fea072c8b4729736aa2aabbbbceee5bb16d0a20ebf84363","sig":"0d2d22cb7269310a8922dc1c46fda4fd68f50bf67ab8c94f586ab5831fae3b4f6ff5bd36ca606278edbcc30fa49de47913c589df421a539369e616062f08ecff"}"#;

/// An id with 16 leading zero bits.
pub(crate) const PW: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[["nonce","188481","16"]],"content":"pow","id":"00009316310f5dbdc210edcb93037d674c21cefc0915b1956a73913af1c0ac1f","sig":"eeffa4b116f7ea6299aeaba22bd5ed35fd03892cf290560815568548dbd62987059d6f9bcc29fe3f82a387721ff11ed285ebfebd7d4813a3d6cf27c2238e37f9"}"#;

/// Protected.
pub(crate) const PR: &str = r#"{"pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[["-"]],"content":"hello members","id":"e0ff833302291b8084562f9300fe86d1b91b423772351f404346658191cc5d66","sig":"81b5e2e670c6a3235c653f34d4c2dcf6d7d59952987f310512252b74baf572828ea6464a6dae67bf342beb9bfaba8e570e13543ecbc7382a6644c0523f30ff7a"}"#;

/// A follow list with one author.
pub(crate) const FOL2: &str = r#"{"pubkey":"c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5","created_at":1700000000,"kind":3,"tags":[["p","79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"]],"content":"","id":"47961c960bc3d34710657d00053af891f1a519f988df73634e803fd82f4981cf","sig":"31b846e7e64f31e58c44ebc02df78b8a556f9f89df3c10f0762961b5428d0e4011b5be1678dc44364516828b52cd015d0bd7629f52eea6df88322695e1842046"}"#;

/// All of the above that are valid.
pub(crate) const VALID: [&str; 16] =
    [S1, S2, S3, S4, S4V, S5, S6, S7, S8, S9, S10, RL, RH, PW, PR, FOL2];
