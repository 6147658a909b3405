'use strict';
const fs = require('fs');
const path = require('path');
const { SMTPServer } = require('smtp-server');

const setup = JSON.parse(fs.readFileSync(process.argv[2]));
let stored = 0;

function reply(code, text) {
    const error = new Error(text);
    error.responseCode = code;
    return error;
}

function authorised(auth) {
    if (auth.username !== setup.user) return false;
    if (auth.method === 'CRAM-MD5') return auth.validatePassword(setup.password);
    if (auth.method === 'XOAUTH2') return auth.accessToken === setup.password;
    return auth.password === setup.password;
}

// The same two files as store.py writes, the .json last and in one step.
function store(envelope, content) {
    const count = String(stored++).padStart(6, '0');
    const stem = path.join(setup.out, `${Date.now()}000000-${process.pid}-${count}`);
    const head = {
        sender: envelope.mailFrom.address || '',
        recipients: envelope.rcptTo.map(to => to.address),
        dsn: [envelope.dsn, ...envelope.rcptTo.map(to => to.dsn)],
    };
    fs.writeFileSync(`${stem}.eml`, content);
    fs.writeFileSync(`${stem}.part`, JSON.stringify(head));
    fs.renameSync(`${stem}.part`, `${stem}.json`);
}

function options(secure) {
    return {
        name: setup.hostname,
        secure,
        cert: fs.readFileSync(setup.cert),
        key: fs.readFileSync(setup.key),
        size: setup.max_size,
        authMethods: ['PLAIN', 'LOGIN', 'CRAM-MD5', 'XOAUTH2'],
        disableReverseLookup: true,
        hideENHANCEDSTATUSCODES: false,
        hideDSN: false,
        onAuth(auth, session, done) {
            if (authorised(auth)) return done(null, { user: setup.user });
            done(null, { message: 'Bad credentials' });
        },
        onMailFrom(address, session, done) {
            const size = Number(address.args && address.args.SIZE) || 0;
            if (size > setup.max_size) return done(reply(552, 'Message too big'));
            if (address.address.startsWith('banned@')) {
                return done(reply(550, 'Sender refused'));
            }
            done();
        },
        onRcptTo(address, session, done) {
            if (address.address.startsWith('unknown')) {
                return done(reply(550, 'User unknown'));
            }
            if (address.address.startsWith('later')) {
                return done(reply(450, 'Try again later'));
            }
            done();
        },
        onData(stream, session, done) {
            const parts = [];
            stream.on('data', part => parts.push(part));
            stream.on('end', () => {
                if (stream.sizeExceeded) return done(reply(552, 'Message too big'));
                if (setup.keep) store(session.envelope, Buffer.concat(parts));
                done(null, 'Message stored');
            });
        },
    };
}

setup.ports.forEach((port, place) => {
    const server = new SMTPServer(options(place === 1));
    server.on('error', error => {
        console.error(port, error.message);
        // A connection's errors are its own; a port that is taken is the end.
        if (error.code === 'EADDRINUSE') process.exit(1);
    });
    server.listen(port, setup.host);
});
