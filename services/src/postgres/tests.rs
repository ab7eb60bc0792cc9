use super::*;

fn count(of: &Postgres) -> String {
    of.sql("postgres", "SELECT count(*) FROM t").unwrap()
}

#[test]
fn it_starts_outlives_a_kill_and_is_copied() {
    let Some(mut postgres) = or_left_out(Postgres::start()) else { return };
    postgres.sql("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    postgres.kill().unwrap();
    assert!(postgres.sql("postgres", "SELECT 1").is_err());
    postgres.start_again().unwrap();
    assert_eq!(count(&postgres), "1");
    let replica = postgres.replica().unwrap();
    assert_eq!(replica.sql("postgres", "SELECT pg_is_in_recovery()").unwrap(), "t");
    assert_eq!(count(&replica), "1");
    postgres.sql("postgres", "SET synchronous_commit = on; INSERT INTO t VALUES (2)").unwrap();
    assert!(postgres.cpu_seconds() > 0.0);
    let folders = [postgres.folder().to_owned(), replica.folder().to_owned()];
    drop((postgres, replica));
    assert!(folders.iter().all(|folder| !folder.exists()), "nothing is left behind");
}

#[test]
fn a_folder_of_ones_own_is_kept_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    // Whoever runs PostgreSQL must come through.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let settings = Settings { folder: Some(folder.path().join("pg")), ..Settings::default() };
    let Some(first) = or_left_out(Postgres::start_with(settings.clone())) else { return };
    first.sql("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    first.pause().unwrap();
    first.resume().unwrap();
    drop(first);
    let second = Postgres::start_with(settings).unwrap();
    assert_eq!(count(&second), "1");
}
