//! The throw-away PostgreSQL: each version that is there starts, survives a kill, and leaves nothing behind.
use arrowload_testkit::{PostgresPrograms, PostgresSetup, ThrowawayPostgres};

#[test]
fn every_version_starts_dies_and_recovers() {
    if ThrowawayPostgres::available().is_none() {
        return;
    }
    for programs in PostgresPrograms::find() {
        let setup = PostgresSetup::new()
            .programs(programs.clone())
            .setting("work_mem", "7MB")
            .file("note", "kept");
        let server = ThrowawayPostgres::start(&setup).expect("started");
        let version: u32 = server
            .psql(
                "postgres",
                "SELECT current_setting('server_version_num')::int / 10000",
            )
            .expect("asked")
            .parse()
            .expect("a number");
        assert_eq!(version, programs.major());
        assert_eq!(
            server.psql("postgres", "SHOW work_mem").expect("asked"),
            "7MB"
        );
        let url = server.create_database("own").expect("created");
        assert!(
            url.ends_with("/own") && url.contains(&server.port().expect("a port").to_string()),
            "{url}"
        );
        server
            .psql("own", "CREATE TABLE t AS SELECT 1 AS v")
            .expect("created");
        server.kill().expect("killed");
        assert!(server.psql("own", "SELECT 1").is_err());
        server.restart().expect("restarted");
        assert_eq!(server.psql("own", "SELECT v FROM t").expect("asked"), "1");
        server.stop().expect("stopped");
        server.restart().expect("restarted");
        let folder = server.folder().expect("a folder").to_owned();
        assert!(folder.join("data/note").is_file());
        drop(server);
        assert!(!folder.exists());
    }
}
