//! How the previews' server is reached and what is demanded of its administrator: rights, TLS,
//! rotated passwords.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mayfly::database::Databases;
use mayfly::database::postgres::SslMode;
use mayfly::demo::postgres::Postgres;
use mayfly::fault::Disposition;
use mayfly::preview::Seen;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::database::{config, connect, creator, make, password, pr, ready, seed};
use crate::world::postgres::{server, unique};
use crate::world::wait::until;

async fn run(server: &Postgres, sql: &str) {
    let mut session = PgConnection::connect(&server.url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut session).await.unwrap();
    session.close().await.unwrap();
}

#[tokio::test]
async fn an_administrator_without_the_rights_is_refused_with_the_cure() {
    let (unique, server) = (unique(), server().await);
    let url = creator(server, unique).await;
    run(server, &format!("ALTER ROLE creator_{unique} NOCREATEROLE")).await;
    let fault = connect(config(url, unique)).await.map(|_| ()).unwrap_err();
    assert_eq!(fault.disposition, Disposition::Permanent);
    let text = fault.to_string();
    assert!(text.contains("databases.admin_url") && text.contains("CREATEDB CREATEROLE"), "{text}");
}

#[tokio::test]
async fn an_administrator_that_does_not_inherit_is_refused_with_the_cure() {
    let (unique, server) = (unique(), server().await);
    let url = creator(server, unique).await;
    run(server, &format!("ALTER ROLE creator_{unique} NOINHERIT")).await;
    let text = connect(config(url, unique)).await.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains(&format!("ALTER ROLE \"creator_{unique}\" INHERIT")), "{text}");
}

/// Before 16 whoever may make roles may join any that is no superuser's; since then it takes the
/// admin option, which whoever made the role has.
#[tokio::test]
async fn marker_roles_of_another_administrator_are_joined_or_the_cure_is_said() {
    let (unique, server) = (unique(), server().await);
    let url = creator(server, unique).await;
    let (owner, app) = (format!("t{unique}_owner"), format!("t{unique}_app"));
    run(server, &format!("CREATE ROLE {owner}; CREATE ROLE {app}")).await;
    if let Err(fault) = connect(config(url.clone(), unique)).await {
        assert!(fault.to_string().contains("WITH ADMIN OPTION"), "{fault}");
    }
    run(server, &format!("GRANT {owner}, {app} TO creator_{unique} WITH ADMIN OPTION")).await;
    let (databases, name) =
        (connect(config(url, unique)).await.unwrap(), pr(i64::from(unique) * 1000));
    make(&databases, &name, &seed(), 0, &password()).await.expect("the cure cures");
}

#[tokio::test]
async fn a_session_that_we_may_not_end_is_said_with_the_cure_and_nothing_is_forced() {
    let (unique, server) = (unique(), server().await);
    let databases = connect(config(creator(server, unique).await, unique)).await.unwrap();
    let (name, secret) = (pr(i64::from(unique) * 1000), password());
    make(&databases, &name, &seed(), 0, &secret).await.unwrap();
    let strangers = PgConnection::connect(&server.url(&name.database())).await.unwrap();
    let fault = databases.remove_database(&name).await.unwrap_err();
    assert!(fault.to_string().contains("pg_signal_backend"), "{fault}");
    strangers.close().await.unwrap();
    until("the session to end", async || databases.remove_database(&name).await.is_ok()).await;
    assert_eq!(databases.observe(&name, &secret).await.database, Seen::Absent);
}

#[tokio::test]
async fn a_password_that_was_rotated_is_read_again_from_its_file() {
    let (unique, server) = (unique(), server().await);
    let first = creator(server, unique).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin-url");
    std::fs::write(&file, format!("{first}\n")).unwrap();
    let mut config = config(first.clone(), unique);
    config.admin_url_file = Some(file.clone());
    let databases = connect(config).await.unwrap();
    let (name, secret, fresh) = (pr(i64::from(unique) * 1000), password(), password());
    make(&databases, &name, &seed(), 0, &secret).await.unwrap();
    // The sessions end with the old password, as they do where a server is restarted for it.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename";
    let rotate = format!("ALTER ROLE creator_{unique} PASSWORD '{}'", fresh.reveal());
    run(server, &format!("{rotate}; {end} = 'creator_{unique}'")).await;
    let fault = databases.remove_database(&name).await.unwrap_err();
    assert!(fault.to_string().contains("databases.admin_url"), "{fault}");
    let (_, address) = first.split_once('@').unwrap();
    std::fs::write(&file, format!("postgres://creator_{unique}:{}@{address}\n", fresh.reveal()))
        .unwrap();
    until("a look", async || ready(&databases, &name, &secret).await == Some(0)).await;
    databases.remove_database(&name).await.unwrap();
}

#[tokio::test]
async fn one_server_is_known_again_under_another_name_and_as_another_role() {
    let (unique, server) = (unique(), server().await);
    let ledger = crate::world::postgres::ledger().await;
    let url = creator(server, unique).await.replace("127.0.0.1", "localhost");
    let databases = connect(config(url, unique)).await.unwrap();
    let here = ledger.server_identity().await;
    assert!(here.is_some());
    assert_eq!(databases.server_identity().await, here);
    let elsewhere = Postgres::start(&std::env::temp_dir()).await.unwrap();
    let other = connect(config(elsewhere.url("postgres"), unique)).await.unwrap();
    assert!(other.server_identity().await.is_some_and(|other| Some(other) != here));
    elsewhere.stop().await.unwrap();
}

/// A CA, by its name; its certificate is written as `<name>.pem`.
fn authority(folder: &Path, name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), issuer.pem()).unwrap();
    issuer
}

/// A server that speaks TLS, with a certificate for `localhost` by this CA.
async fn server_with_tls(ca: &CertifiedIssuer<'static, KeyPair>) -> Postgres {
    let server = Postgres::start(&std::env::temp_dir()).await.unwrap();
    let mut session = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let data: String =
        sqlx::query_scalar("SHOW data_directory").fetch_one(&mut session).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    let owner = std::fs::metadata(&data).unwrap();
    let files = [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())];
    for (name, text) in files {
        use std::os::unix::fs::PermissionsExt;
        let path = Path::new(&data).join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    for sql in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
    }
    let strict = format!("{}?sslmode=require", server.url("postgres"));
    until("TLS", async || PgConnection::connect(&strict).await.is_ok()).await;
    server
}

#[tokio::test]
async fn tls_is_verified_against_the_ca_in_the_url_and_previews_are_told_to_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority(folder.path(), "ours");
    authority(folder.path(), "theirs");
    let server = server_with_tls(&ca).await;
    let url = server.url("postgres").replace("127.0.0.1", "localhost");
    let strict = |url: &str, ca: &str| {
        format!("{url}?sslmode=verify-full&sslrootcert={}", folder.path().join(ca).display())
    };
    let unique = unique();
    let mut good = config(strict(&url, "ours.pem"), unique);
    good.public_sslmode = SslMode::Require;
    let databases = connect(good).await.unwrap();
    let (name, secret) = (pr(1), password());
    make(&databases, &name, &seed(), 0, &secret).await.unwrap();
    let public = databases.url(&name, &secret);
    assert!(public.ends_with("?sslmode=require"), "{public}");
    let mut session = PgConnection::connect(&public).await.unwrap();
    let encrypted: bool =
        sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .fetch_one(&mut session)
            .await
            .unwrap();
    assert!(encrypted);
    let by_address = strict(&server.url("postgres"), "ours.pem");
    for (what, wrong) in [("another CA", strict(&url, "theirs.pem")), ("another name", by_address)]
    {
        let fault = connect(config(wrong, unique)).await.map(|_| ()).unwrap_err();
        assert_eq!(fault.disposition, Disposition::Permanent, "{what}: {fault}");
        let text = fault.to_string();
        assert!(text.contains("databases.admin_url") && text.contains("sslrootcert"), "{text}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_previews_url_says_nothing_about_tls_unless_it_is_told_to() {
    let (unique, server) = (unique(), server().await);
    let (name, secret) = (pr(i64::from(unique) * 1000), password());
    for (mode, end) in [
        (SslMode::Prefer, name.database()),
        (SslMode::Disable, format!("{}?sslmode=disable", name.database())),
        (SslMode::VerifyFull, format!("{}?sslmode=verify-full", name.database())),
    ] {
        let mut config = config(server.url("postgres"), unique);
        config.public_sslmode = mode;
        let url = connect(config).await.unwrap().url(&name, &secret);
        assert!(url.ends_with(&format!("/{end}")), "{url}");
        assert_eq!(SslMode::parse(mode.as_str()), Some(mode));
    }
}
