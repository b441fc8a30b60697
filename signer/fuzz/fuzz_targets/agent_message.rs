//! Messages between a client and the agent: any bytes are a message or an error, and a message survives.

#![no_main]

use hsmsign::agent::{
    Statement,
    protocol::{self, Ask, Reply},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = protocol::greeting_version(bytes);
    if let Some((header, _)) = bytes.split_first_chunk::<4>()
        && let Ok(len) = protocol::message_len_bytes(*header)
    {
        assert!((1..=protocol::MAX_MESSAGE_LEN_BYTES).contains(&len));
    }
    if let Ok(ask) = protocol::decode::<Ask>(bytes) {
        let said = protocol::encode(&ask).unwrap();
        assert_eq!(protocol::decode::<Ask>(&said[4..]).unwrap(), ask);
        match ask {
            Ask::Sign(request) => {
                let _ = request.to_request();
            }
            Ask::Hello { policy: Some(policy), .. } => assert!(policy.differences(&policy).is_empty()),
            Ask::Hello { .. } | Ask::Key { .. } | Ask::Status => {}
        }
    }
    if let Ok(reply) = protocol::decode::<Reply>(bytes) {
        let said = protocol::encode(&reply).unwrap();
        assert_eq!(protocol::decode::<Reply>(&said[4..]).unwrap(), reply);
        if let Reply::Key(key) = reply {
            let _ = key.facts();
        }
    }
    let _ = protocol::decode::<Statement>(bytes);
});
