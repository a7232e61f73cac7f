//! ExternalDNS's TXT registry: where it keeps whose a host's record is, and what it says there.
//!
//! Refuses encrypted registries: without their key there is nothing to read.
//! <https://kubernetes-sigs.github.io/external-dns/latest/docs/registry/txt/>

/// The types whose records ExternalDNS may have written for a host, as its registry spells them. The
/// type there need not be the one that a server answers with: an alias of Route 53 is registered as a
/// CNAME by releases before 0.22, and shows as an A record.
const TYPES: [&str; 3] = ["a", "aaaa", "cname"];

/// What a template of an affix has where the type belongs.
const TYPE_TEMPLATE: &str = "%{record_type}";

/// Where a registry with these affixes may keep the host `<label>.<rest>`. Before 0.18 there was one
/// without the type beside those with it.
pub(super) fn places(prefix: &str, suffix: &str, label: &str, rest: &str) -> Vec<String> {
    let templated = [prefix, suffix].iter().any(|affix| affix.contains(TYPE_TEMPLATE));
    let with = |kind: &str, label: &str| {
        let [before, after] = [prefix, suffix].map(|affix| affix.replace(TYPE_TEMPLATE, kind));
        format!("{before}{label}{after}.{rest}")
    };
    let typed = TYPES.map(|kind| match templated {
        true => with(kind, label),
        false => with(kind, &format!("{kind}-{label}")),
    });
    typed.into_iter().chain((!templated).then(|| with("", label))).collect()
}

/// Whether a registry's text names this owner: `"heritage=external-dns,external-dns/owner=…,…"`.
pub(super) fn is_owned_by(text: &str, owner: &str) -> bool {
    let mut words = text.trim_matches('"').split(',');
    words.next() == Some("heritage=external-dns")
        && words.any(|word| word.strip_prefix("external-dns/owner=") == Some(owner))
}
