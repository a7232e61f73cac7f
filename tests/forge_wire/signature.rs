//! A delivery is believed when one of our secrets signed exactly its bytes.

use mayfly::forge::signature::{SecretsError, SignatureError, WebhookSecrets, sign};
use proptest::prelude::*;
use secrecy::SecretString;

fn secrets(secrets: &[&str]) -> Result<WebhookSecrets, SecretsError> {
    WebhookSecrets::new(secrets.iter().map(|&secret| secret.into()).collect())
}

#[test]
fn the_forges_own_example_verifies() {
    let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let secrets = secrets(&["It's a Secret to Everybody"]).unwrap();
    assert_eq!(secrets.verify(Some(header), b"Hello, World!"), Ok(()));
    assert_eq!(sign(&"It's a Secret to Everybody".into(), b"Hello, World!"), header);
}

#[test]
fn both_secrets_of_a_rotation_are_accepted_and_no_third_one() {
    let secrets = secrets(&["new", "old"]).unwrap();
    for (secret, verdict) in
        [("new", Ok(())), ("old", Ok(())), ("older", Err(SignatureError::Wrong))]
    {
        assert_eq!(secrets.verify(Some(&sign(&secret.into(), b"{}")), b"{}"), verdict);
    }
}

#[test]
fn what_is_not_a_signature_by_us_is_refused() {
    let secrets = secrets(&["secret"]).unwrap();
    let good = sign(&"secret".into(), b"body");
    let hex = good.strip_prefix("sha256=").unwrap();
    assert_eq!(secrets.verify(None, b"body"), Err(SignatureError::Missing));
    let malformed = [
        String::new(),
        "sha256=".to_owned(),
        hex.to_owned(),
        format!("sha1={}", &hex[..40]),
        format!("sha1={hex}"),
        format!("SHA256={hex}"),
        format!("{good}0"),
        format!("{good}\n"),
        format!(" {good}"),
        good[..good.len() - 1].to_owned(),
        format!("sha256=+{}", &hex[1..]),
        format!("sha256={}é", &hex[2..]),
    ];
    for header in malformed {
        let verdict = secrets.verify(Some(&header), b"body");
        assert_eq!(verdict, Err(SignatureError::Malformed), "{header:?}");
    }
    assert_eq!(secrets.verify(Some(&good), b"Body"), Err(SignatureError::Wrong));
    assert_eq!(secrets.verify(Some(&good), b""), Err(SignatureError::Wrong));
}

#[test]
fn a_list_that_lets_nobody_or_anybody_in_is_refused() {
    assert_eq!(secrets(&[]).unwrap_err(), SecretsError::None);
    assert_eq!(secrets(&[""]).unwrap_err(), SecretsError::Blank(1));
    assert_eq!(secrets(&["fine", " \t\n"]).unwrap_err(), SecretsError::Blank(2));
    assert_eq!(secrets(&["a", "b", "c"]).unwrap_err(), SecretsError::TooMany(3));
}

#[test]
fn secrets_are_not_printed() {
    let printed = format!("{:?}", secrets(&["hush-hush"]).unwrap());
    assert!(!printed.contains("hush"), "{printed}");
}

proptest! {
    #[test]
    fn what_we_sign_verifies_and_no_other_body_does(
        secret in "[^ ].{0,40}", body: Vec<u8>, flip: prop::sample::Index
    ) {
        prop_assume!(!secret.trim().is_empty());
        let secret = SecretString::from(secret);
        let secrets = WebhookSecrets::new(vec![secret.clone()]).unwrap();
        let header = sign(&secret, &body);
        prop_assert_eq!(secrets.verify(Some(&header), &body), Ok(()));
        let mut other = body.clone();
        other.push(0);
        let at = flip.index(other.len());
        other[at] ^= 1;
        prop_assert_eq!(secrets.verify(Some(&header), &other), Err(SignatureError::Wrong));
    }

    #[test]
    fn no_header_is_a_panic(header: String, body: Vec<u8>) {
        prop_assert!(secrets(&["secret"]).unwrap().verify(Some(&header), &body).is_err());
    }
}
