//! `keys`: show, use and change the node's keys.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use polykey_api::agent::{LOGIN, UnlockRequest};
use polykey_api::keys::{
    self, EncryptQuery, ExportRequest, PrivateJwe, ProposeRequest, PublicJwk, RenewRequest, VerifyQuery,
};
use polykey_api::{Code, Endpoint, Nothing, Problem};
use polykey_client::{Auth, Client, Download};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::looks_like_node_id;
use crate::context::{Autostart, Context, Link};
use crate::escape;
use crate::output::Done;
use crate::password::{self, Secret};

/// A key file from elsewhere is at most this long.
const MAX_FILE: u64 = 1 << 20;

/// What to do with the keys.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey keys public --json
  polykey keys sign report.pdf > report.sig
  polykey keys password")]
pub enum Command {
    /// Print the public keys as a JWK
    #[command(after_help = "\
Examples:
  polykey keys public --json > node.jwk")]
    Public,
    /// Print the root key, protected by a new password
    #[command(after_help = "\
Examples:
  polykey keys private --password-new-file export.txt > root.jwe")]
    Private(NewPassword),
    /// Print the public and the protected root key
    #[command(after_help = "\
Examples:
  polykey keys keypair --password-new-file export.txt --json")]
    Keypair(NewPassword),
    /// Print an X.509 certificate of the node key
    #[command(after_help = "\
Examples:
  polykey keys cert > node.pem")]
    Cert,
    /// Print the certificate and those that vouch for it
    #[command(after_help = "\
Examples:
  polykey keys certchain > chain.pem")]
    Certchain,
    /// Set a new password
    #[command(after_help = "\
Examples:
  polykey keys password
  polykey keys password --password-new-file new.txt")]
    Password(NewPassword),
    /// Take a new root key that the old one names as its successor
    #[command(after_help = "\
Examples:
  polykey keys renew
  polykey keys renew --password-new-file new.txt")]
    Renew(Renew),
    /// Take a new root key that others cannot follow
    ///
    /// For when the recovery code is lost. To others the node is a stranger from then on: it has to be added and
    /// let into shared vaults again. Its vaults stay readable here, under its former id.
    #[command(after_help = "\
Examples:
  polykey keys reset")]
    Reset(Renew),
    /// Encrypt a file to a node
    ///
    /// In JSON, the result is `data`: a text of one character (U+0000 to U+00FF) for each byte.
    Encrypt(Encrypt),
    /// Decrypt a file that was encrypted to this node
    ///
    /// In JSON, the result is `data`: a text of one character (U+0000 to U+00FF) for each byte.
    Decrypt(Decrypt),
    /// Sign a file
    Sign(Sign),
    /// Check a signature; a wrong one ends with exit code 1
    Verify(Verify),
}

/// Where a new password comes from.
#[derive(Debug, Args)]
pub struct NewPassword {
    /// Read the new password from this file
    #[arg(long, value_name = "FILE")]
    password_new_file: Option<PathBuf>,
}

/// How to take a new root key.
#[derive(Debug, Args)]
pub struct Renew {
    #[command(flatten)]
    new: NewPassword,
    /// Read the present recovery code from this file
    #[arg(long, value_name = "FILE")]
    recovery_code_file: Option<PathBuf>,
}

/// What to encrypt, and to whom.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey keys encrypt plan.txt bob > plan.box
  polykey keys encrypt plan.txt friend.jwk > plan.box
  polykey keys encrypt - friend.jwk < plan.txt > plan.box")]
pub struct Encrypt {
    /// The file (`-` for stdin)
    file: PathBuf,
    /// The node, or a file with what `keys public --json` printed there
    node: String,
}

/// What to decrypt.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey keys decrypt plan.box > plan.txt")]
pub struct Decrypt {
    /// The file (`-` for stdin)
    file: PathBuf,
}

/// What to sign.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey keys sign report.pdf > report.sig
  polykey keys sign - < report.pdf > report.sig")]
pub struct Sign {
    /// The file (`-` for stdin)
    file: PathBuf,
}

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey keys verify report.pdf report.sig bob
  polykey keys verify report.pdf report.sig friend.jwk")]
pub struct Verify {
    /// The file that was signed (`-` for stdin)
    file: PathBuf,
    /// The file with the signature
    signature: PathBuf,
    /// The signer, or a file with its public JWK
    node: String,
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Public => {
            let key = cx.call(&keys::PUBLIC, &Nothing {}).await?;
            cx.out.answer(&key, public_text)
        }
        Command::Private(args) => {
            let jwe = export(cx, &args).await?;
            cx.out.answer(&jwe, private_text)
        }
        Command::Keypair(args) => keypair(cx, &args).await,
        Command::Cert => {
            let certificates = cx.call(&keys::CERTIFICATES, &Nothing {}).await?;
            let leaf = certificates.chain.first();
            let leaf = leaf.ok_or_else(|| Problem::new(Code::Protocol, "the agent sent no certificate"))?;
            cx.out.answer(leaf, |leaf| leaf.cert.clone())
        }
        Command::Certchain => {
            let certificates = cx.call(&keys::CERTIFICATES, &Nothing {}).await?;
            cx.out.answer(&certificates.chain, |chain| {
                chain
                    .iter()
                    .map(|certificate| certificate.cert.as_str())
                    .collect()
            })
        }
        Command::Password(args) => set_password(cx, &args).await,
        Command::Renew(args) => new_root(cx, &args, &keys::RENEW, true).await,
        Command::Reset(args) => new_root(cx, &args, &keys::RESET, false).await,
        Command::Encrypt(args) => encrypt(cx, &args).await,
        Command::Decrypt(args) => decrypt(cx, &args).await,
        Command::Sign(args) => sign(cx, &args).await,
        Command::Verify(args) => verify(cx, &args).await,
    }
}

fn public_text(key: &PublicJwk) -> String {
    format!(
        "alg\t{}\nkty\t{}\ncrv\t{}\nx\t{}\next\t{}\nkey_ops\t{}",
        key.alg,
        key.kty,
        key.crv,
        key.x,
        key.ext,
        key.key_ops.join(", ")
    )
}

fn private_text(jwe: &PrivateJwe) -> String {
    format!(
        "ciphertext\t{}\niv\t{}\ntag\t{}\nprotected\t{}",
        jwe.ciphertext, jwe.iv, jwe.tag, jwe.protected
    )
}

fn request(cx: &Context<'_>, password: &Secret) -> ExportRequest {
    ExportRequest {
        password: data_encoding::BASE64.encode(password),
        ops_limit: cx.settings.given("password-ops-limit"),
        mem_limit: cx.settings.given("password-mem-limit"),
    }
}

async fn export(cx: &Context<'_>, args: &NewPassword) -> Result<PrivateJwe, Problem> {
    let mut link = cx.link(Autostart::Allowed).await?;
    link.authorized().await?;
    let password = password::new_password(
        args.password_new_file.as_deref(),
        "Password for the exported key: ",
    )?;
    link.client().call(&keys::EXPORT, &request(cx, &password)).await
}

async fn keypair(cx: &Context<'_>, args: &NewPassword) -> Result<Done, Problem> {
    let private = export(cx, args).await?;
    let public = cx.call(&keys::PUBLIC, &Nothing {}).await?;
    let pair = json!({ "publicKeyJwk": public, "privateKeyJwe": private });
    cx.out.answer(&pair, |_| {
        let mut text = String::new();
        for (name, lines) in [
            ("publicKeyJwk", public_text(&public)),
            ("privateKeyJwe", private_text(&private)),
        ] {
            let _ = writeln!(text, "{name}");
            for line in lines.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    })
}

async fn set_password(cx: &Context<'_>, args: &NewPassword) -> Result<Done, Problem> {
    let mut link = cx.link(Autostart::Allowed).await?;
    link.authorized().await?;
    let password = password::new_password(args.password_new_file.as_deref(), "New password: ")?;
    link.client()
        .call(&keys::PASSWORD, &request(cx, &password))
        .await?;
    keep_session(cx, &mut link, &password).await?;
    cx.out
        .success("the new password holds; the old one opens nothing any more");
    Ok(Done::All)
}

/// All sessions ended with the old password. Whoever had one goes on with a new one.
async fn keep_session(cx: &Context<'_>, link: &mut Link<'_, '_>, password: &Secret) -> Result<(), Problem> {
    if !link.may_ask() {
        return cx.remove_token();
    }
    let client = link.client();
    client.authorize(Some(&Auth::Password(password.to_vec())))?;
    let request = UnlockRequest {
        name: Some("cli".to_owned()),
    };
    let session = client.call(&LOGIN, &request).await?;
    cx.save_token(&session.token)
}

async fn new_root(
    cx: &Context<'_>,
    args: &Renew,
    endpoint: &Endpoint<RenewRequest, keys::Renewed>,
    wants_code: bool,
) -> Result<Done, Problem> {
    let mut link = cx.link(Autostart::Allowed).await?;
    link.authorized().await?;
    let code = match &args.recovery_code_file {
        Some(file) => Some(password::read_file(file)?),
        None => password::variable("PK_RECOVERY_CODE"),
    };
    let code = match code {
        None if wants_code => {
            let missing = Problem::new(Code::Usage, "the present recovery code is needed to name a successor")
                .hint("set PK_RECOVERY_CODE, or use `--recovery-code-file`; where the code is lost: `polykey keys reset`");
            Some(password::ask_or(missing, "Present recovery code: ")?)
        }
        code => code,
    };
    let password = password::new_password(args.new.password_new_file.as_deref(), "New password: ")?;
    let ExportRequest {
        password: text,
        ops_limit,
        mem_limit,
    } = request(cx, &password);
    let code = code
        .filter(|_| wants_code)
        .map(|code| String::from_utf8_lossy(&code).into_owned());
    let question = ProposeRequest {
        recovery_code: code.clone(),
    };
    let proposal = link.client().call(&keys::PROPOSE, &question).await?;
    // The new code is out before it holds: at no moment holds one that nobody has seen.
    cx.out.answer(&proposal, |proposal| {
        format!(
            "nodeId\t{}\nrecoveryCode\t{}",
            proposal.node_id, proposal.recovery_code
        )
    })?;
    let request = RenewRequest {
        password: text,
        new_recovery_code: proposal.recovery_code,
        recovery_code: code,
        ops_limit,
        mem_limit,
    };
    if let Err(problem) = link.client().call(endpoint, &request).await {
        cx.out.warn(&format!(
            "keep both recovery codes: the new one holds if `polykey agent status` shows {} once the agent is unlocked",
            proposal.node_id
        ));
        return Err(problem);
    }
    cx.out
        .success("the new keys, recovery code and password hold; the old ones open nothing any more");
    // What fails now is only a matter of comfort.
    if let Err(problem) = keep_session(cx, &mut link, &password).await {
        cx.out.warn(&format!("no new session: {problem}"));
    }
    Ok(Done::All)
}

async fn encrypt(cx: &Context<'_>, args: &Encrypt) -> Result<Done, Problem> {
    let (to, key_record) = recipient(&args.node)?;
    let source = source(&args.file)?;
    let mut link = cx.link(Autostart::Allowed).await?;
    let question = EncryptQuery { to, key_record };
    let client = link.authorized().await?;
    let sealed = client.transform(&keys::ENCRYPT, &question, source).await;
    print_data(cx, sealed.map_err(|problem| or_no_file(&args.node, problem))?).await
}

async fn decrypt(cx: &Context<'_>, args: &Decrypt) -> Result<Done, Problem> {
    let source = source(&args.file)?;
    let mut link = cx.link(Autostart::Allowed).await?;
    let client = link.authorized().await?;
    print_data(cx, client.transform(&keys::DECRYPT, &Nothing {}, source).await?).await
}

/// Raw bytes; in JSON, as the original, `{"data":...}` with a text of one character for each byte.
async fn print_data(cx: &Context<'_>, mut data: Download) -> Result<Done, Problem> {
    let json = cx.out.is_json();
    if json {
        cx.out.bytes(b"{\"data\":\"")?;
    }
    while let Some(piece) = data.piece().await? {
        if !json {
            cx.out.bytes(&piece)?;
            continue;
        }
        let characters: Zeroizing<String> = Zeroizing::new(piece.iter().copied().map(char::from).collect());
        let quoted = Zeroizing::new(serde_json::Value::from(characters.as_str()).to_string());
        cx.out.bytes(quoted[1..quoted.len() - 1].as_bytes())?;
    }
    if json {
        cx.out.bytes(b"\"}\n")?;
    }
    Ok(Done::All)
}

async fn sign(cx: &Context<'_>, args: &Sign) -> Result<Done, Problem> {
    let source = source(&args.file)?;
    let mut link = cx.link(Autostart::Allowed).await?;
    let client = link.authorized().await?;
    let signature = client.upload(&keys::SIGN, &Nothing {}, source).await?;
    cx.out.answer(&signature, |signature| signature.signature.clone())
}

async fn verify(cx: &Context<'_>, args: &Verify) -> Result<Done, Problem> {
    if args.file == Path::new("-") && args.signature == Path::new("-") {
        return Err(Problem::new(
            Code::Usage,
            "only one of both can be read from stdin",
        ));
    }
    let (signer, _) = recipient(&args.node)?;
    let signature = signature_text(&read_whole(&args.signature)?);
    let source = source(&args.file)?;
    let mut link = cx.link(Autostart::Allowed).await?;
    let client: &mut Client = link.authorized().await?;
    let question = VerifyQuery { signer, signature };
    let verdict = client.upload(&keys::VERIFY, &question, source).await;
    let verdict = verdict.map_err(|problem| or_no_file(&args.node, problem))?;
    cx.out
        .answer(&verdict, |verdict| format!("success\t{}", verdict.success))?;
    Ok(if verdict.success { Done::All } else { Done::Partly })
}

/// The text of a signature: as `keys sign` prints it, in either form.
fn signature_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    serde_json::from_str::<keys::Signature>(&text).map_or_else(|_| text.into_owned(), |json| json.signature)
}

/// The node in a JWK file with its key record; or, where there is no file of that name, a node as the user calls it.
fn recipient(text: &str) -> Result<(String, Option<String>), Problem> {
    let is_file = text == "-" || text.contains('/') || Path::new(text).exists();
    if looks_like_node_id(text) || !is_file {
        return Ok((text.to_owned(), None));
    }
    let bytes = read_whole(Path::new(text))?;
    let no_jwk = || {
        Problem::new(
            Code::FileNotFound,
            format!(
                "{} is neither a node nor a file with a public JWK",
                escape::name(text)
            ),
        )
        .hint("`polykey keys public --json` prints one")
    };
    let jwk: PublicJwk = serde_json::from_slice(&bytes).map_err(|_| no_jwk())?;
    let key = data_encoding::BASE64URL_NOPAD
        .decode(jwk.x.as_bytes())
        .ok()
        .filter(|key| key.len() == 32 && jwk.crv == "Ed25519")
        .ok_or_else(no_jwk)?;
    let id = format!("v{}", data_encoding::BASE32_DNSSEC.encode(&key));
    Ok((id, jwk.key_record))
}

/// A text without a colon that names no node was meant as the name of a file.
fn or_no_file(text: &str, problem: Problem) -> Problem {
    if problem.code != Code::NodeNotFound || looks_like_node_id(text) || text.contains(':') {
        return problem;
    }
    let message = format!("{} is neither a file nor a node", escape::name(text));
    Problem::new(Code::FileNotFound, message).hint("`polykey keys public --json` prints such a file")
}

fn read_whole(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = source(path)?.take(MAX_FILE).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// A file, or stdin for `-`.
fn source(path: &Path) -> Result<Box<dyn Read + Send>, Problem> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(Problem::new(
            Code::FileNotFound,
            format!("{} is a folder", path.display()),
        ));
    }
    Ok(Box::new(file))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let code = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => {
            Code::FileNotFound
        }
        _ => Code::Io,
    };
    Problem::new(code, format!("cannot read {}", path.display())).caused_by(error)
}
