//! Tokens that are pulled out, refuse their PIN, or hang, while an agent holds them.

use super::{
    common::{
        quirky::{Quirky, quirky},
        run,
    },
    running::{Agent, Client, PATIENCE, sign_arguments},
};
use std::{
    fs,
    time::{Duration, Instant},
};

fn agent(quirky: &Quirky, host: &str) -> Agent {
    let token = &quirky.token;
    token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&quirky.rsa], "");
    let _ = fs::remove_file(token.bench.path("told"));
    Agent::start_at(token, host, &token.bench.path("s"), &[("QUIRKS", "switched")])
}

fn switch(quirky: &Quirky, name: &str, on: bool) {
    let path = quirky.token.bench.path(&format!("told.{name}"));
    match on {
        true => fs::write(path, "").unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
}

#[test]
fn a_token_that_was_pulled_out_and_put_back_signs_again() {
    let Some(quirky) = quirky() else { return };
    let token = &quirky.token;
    let agent = agent(&quirky, "");
    let key = Client::open(token, &agent.socket).unwrap();
    key.sign("before").unwrap();
    assert_eq!(quirky.logins(), 1);
    switch(&quirky, "pulled", true);
    for _ in 0..3 {
        assert_eq!(key.sign("out").unwrap_err().exit() as u8, 5);
    }
    // Nothing was tried on a token that is not there.
    assert_eq!(quirky.logins(), 1);
    agent.try_status(token).exits(5).says("trouble with token `hsm`");
    switch(&quirky, "pulled", false);
    // Many at once: one of them opens the token again.
    std::thread::scope(|scope| {
        for client in 0..8 {
            let agent = &agent;
            scope.spawn(move || {
                let key = Client::open(token, &agent.socket).unwrap();
                key.sign(&format!("back {client}")).unwrap();
            });
        }
    });
    assert_eq!(quirky.logins(), 2);
    agent.try_status(token).exits(0);
    assert_eq!(agent.records(token).len(), 9);
    let said = agent.end();
    assert!(said.contains("CKR_DEVICE_REMOVED") && said.contains("token `hsm` is back"), "{said}");
    quirky.left_in_order();
}

#[test]
fn a_pin_that_is_refused_is_not_given_again() {
    let Some(quirky) = quirky() else { return };
    let token = &quirky.token;
    let agent = agent(&quirky, "");
    let key = Client::open(token, &agent.socket).unwrap();
    key.sign("before").unwrap();
    switch(&quirky, "pulled", true);
    key.sign("out").unwrap_err();
    switch(&quirky, "refuse", true);
    switch(&quirky, "pulled", false);
    let error = key.sign("refused").unwrap_err();
    assert!(error.to_string().contains("CKR_PIN_INCORRECT"), "{error}");
    switch(&quirky, "refuse", false);
    for _ in 0..5 {
        assert_eq!(key.sign("never").unwrap_err().exit() as u8, 5);
    }
    assert_eq!(quirky.logins(), 2);
    agent.try_status(token).exits(5).says("CKR_PIN_INCORRECT");
    // The latch was for everybody; this agent has given the token up for good.
    token.hsmsign(&["keys", "unlatch"]).exits(0);
    assert!(key.sign("never").unwrap_err().to_string().contains("CKR_PIN_INCORRECT"));
    assert_eq!(quirky.logins(), 2);
    agent.end();
}

#[test]
fn a_token_in_anothers_place_is_not_given_its_pin() {
    let Some(quirky) = quirky() else { return };
    let token = &quirky.token;
    let agent = agent(&quirky, "");
    let key = Client::open(token, &agent.socket).unwrap();
    key.sign("before").unwrap();
    switch(&quirky, "pulled", true);
    key.sign("out").unwrap_err();
    switch(&quirky, "other", true);
    switch(&quirky, "pulled", false);
    for _ in 0..3 {
        let error = key.sign("other").unwrap_err();
        assert!(error.to_string().contains("stands in the place of"), "{error}");
    }
    assert_eq!(quirky.logins(), 1);
    switch(&quirky, "other", false);
    key.sign("back").unwrap();
    assert_eq!(quirky.logins(), 2);
    agent.end();
}

#[test]
fn a_pin_that_may_have_been_changed_is_not_given_again() {
    let Some(quirky) = quirky() else { return };
    let token = &quirky.token;
    let agent = agent(&quirky, "");
    let key = Client::open(token, &agent.socket).unwrap();
    key.sign("before").unwrap();
    switch(&quirky, "pulled", true);
    key.sign("out").unwrap_err();
    // Somebody else's wrong PIN while it was out.
    token.bench.write("tries", "2");
    switch(&quirky, "pulled", false);
    let error = key.sign("unsafe").unwrap_err();
    assert!(error.to_string().contains("a wrong PIN was tried"), "{error}");
    // Who unlatches says that the PIN in its source is right; the one that the agent kept may be an older one.
    token.hsmsign(&["keys", "unlatch"]).exits(0);
    let error = key.sign("unsafe").unwrap_err();
    assert!(error.to_string().contains("tried on it since it was opened"), "{error}");
    assert_eq!(quirky.logins(), 1);
    agent.end();
}

#[test]
fn a_module_that_hangs_keeps_nobody_for_long() {
    let Some(quirky) = quirky() else { return };
    let token = &quirky.token;
    let agent = agent(&quirky, "agent: { sessions: 1, sign_seconds: 2 }\n");
    switch(&quirky, "hang", true);
    let begun = Instant::now();
    let mut first = agent.client(token, &sign_arguments("first"));
    run(&mut first).exits(5).says("token `hsm` does not answer");
    assert!(begun.elapsed() < PATIENCE);
    // Every session hangs, so nobody waits in line for them.
    run(&mut agent.client(token, &sign_arguments("second"))).exits(5).says("does not answer");
    agent.try_status(token).exits(5).says("hangs");
    assert!(!token.bench.path("first").exists());
    switch(&quirky, "hang", false);
    let begun = Instant::now();
    while agent.try_status(token).code != 0 {
        assert!(begun.elapsed() < PATIENCE, "{}", agent.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    run(&mut agent.client(token, &sign_arguments("third"))).exits(0);
    agent.end();
    quirky.left_in_order();
}

#[test]
fn a_long_line_has_a_limit_too() {
    let Some(quirky) = quirky() else { return };
    let token = &quirky.token;
    let agent = agent(&quirky, "agent: { sessions: 1, sign_seconds: 2, queue_len: 1 }\n");
    switch(&quirky, "hang", true);
    let errors = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let agent = &agent;
                scope.spawn(move || {
                    let key = Client::open(token, &agent.socket).unwrap();
                    key.sign(&format!("{client}")).unwrap_err().to_string()
                })
            })
            .collect();
        clients.into_iter().map(|c| c.join().unwrap()).collect::<Vec<_>>()
    });
    for expected in ["does not answer", "too many requests in line"] {
        assert!(errors.iter().any(|e| e.contains(expected)), "{expected}: {errors:?}");
    }
    switch(&quirky, "hang", false);
    // What was in line for nobody was not signed.
    agent.end();
}
