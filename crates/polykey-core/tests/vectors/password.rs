//! Argon2id: RFC 9106, and what `stretch` computes.

use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
use polykey_core::Key;
use polykey_core::password::{Level, Limits, Password, stretch};

use crate::hex_of;

/// RFC 9106, section 5.3.
#[test]
fn argon2id_of_the_rfc() {
    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).expect("short"))
        .build()
        .expect("allowed");
    let argon2 =
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).expect("short");
    let mut tag = [0; 32];
    argon2
        .hash_password_into(&[1; 32], &[2; 16], &mut tag)
        .expect("32 KiB");
    assert_eq!(
        tag,
        hex_of("0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659")
    );
}

/// Computed by the reference implementation (`argon2-cffi`) over the NFC bytes of the password.
#[test]
fn stretching_is_argon2id_over_nfc() {
    for (password, salt, passes, memory_kib, want) in [
        (
            "correct horse battery staple",
            "01010101010101010101010101010101",
            1,
            8,
            "8b24692aafb70d68522d8c366deea38e55772430041082380f63bcbd9ad67260",
        ),
        (
            "caf\u{e9}",
            "000102030405060708090a0b0c0d0e0f",
            2,
            64,
            "21d889e0131aa5098255f666c13f28805cae5ec4c6daa7bbfe8d4dfddb813d6c",
        ),
        (
            "",
            "ffffffffffffffffffffffffffffffff",
            3,
            1024,
            "5450a6408ac33d42cbebb1eabbf8c0997441472ead509b486bee9969ea37552a",
        ),
        (
            "cafe\u{301}",
            "706f6c796b65792073616c742031362e",
            2,
            65536,
            "6743dfdd450a28528b2c7445dd4bd7b045d671c7e9a004c9aa7bd41c6f496211",
        ),
    ] {
        let limits = Limits::checked(passes, memory_kib).expect("in range");
        let key = stretch(&Password::new(password).expect("short"), &hex_of(salt), limits);
        assert_eq!(
            key.expect("64 MiB are there"),
            Key::from_array(hex_of(want)),
            "{password:?}"
        );
    }
    let interactive = Limits::named(Level::Interactive, Level::Interactive);
    assert_eq!((interactive.passes(), interactive.memory_kib()), (2, 65536));
}
