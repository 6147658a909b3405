// The driver for nodemailer: the same jobs as the others (jobs.py).
// node nodemailer.js CAFILE, with NODE_PATH where nodemailer is.

"use strict";

const fs = require("fs");
const readline = require("readline");
const nodemailer = require("nodemailer");

const [, , CAFILE, USER, PASS] = process.argv;
const SENDER = "ann@example.test";
const ca = fs.readFileSync(CAFILE);
const contents = new Map();

function content(size) {
    if (!contents.has(size)) {
        const head =
            `From: ${SENDER}\r\nTo: bob@example.test\r\nSubject: Speed\r\n` +
            "Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n\r\n";
        const line =
            "The quick brown fox jumps over the lazy dog, again and again and again.\r\n";
        const left = size - head.length;
        const body = line.repeat(Math.floor(left / line.length) + 1).slice(0, left - 2);
        contents.set(size, Buffer.from(head + body + "\r\n"));
    }
    return contents.get(size);
}

function transport([port, security], job, pool) {
    const options = {
        host: job.host,
        port,
        secure: security === "implicit",
        requireTLS: security !== "implicit",
        auth: { user: USER, pass: PASS },
        name: "client.example.test",
        tls: { ca },
        ...(pool && { pool: true, maxConnections: job.connections, maxMessages: Infinity }),
    };
    if (job.timeout !== null) {
        options.connectionTimeout = job.timeout * 1000;
        options.greetingTimeout = job.timeout * 1000;
    }
    return nodemailer.createTransport(options);
}

async function overRoutes(job, pool, send) {
    let failure;
    for (const route of job.routes) {
        const mailer = transport(route, job, pool);
        try {
            return await send(mailer);
        } catch (error) {
            failure = error;
        } finally {
            mailer.close();
        }
    }
    throw failure;
}

function recipients(count) {
    return Array.from({ length: count }, (_, number) => `bob${number}@example.test`);
}

// As `fields` in mails.py.
function letter(number, size) {
    const line =
        "The quick brown fox jumps over the lazy dog, again and again and again.\n";
    const lines = Math.ceil((size - 200) / (line.length + 1));
    return {
        from: SENDER,
        to: `bob${number}@example.test`,
        subject: `Your order ${number} is on its way`,
        text: `Dear customer ${number},\n\n${line.repeat(lines)}`,
    };
}

const WORK = {
    once(job, message, to) {
        const mail = { envelope: { from: SENDER, to }, raw: message };
        return overRoutes(job, false, (mailer) => mailer.sendMail(mail));
    },
    kept(job, message, to) {
        return WORK.many(job, message, to);
    },
    many(job, message, to) {
        const bytes = job.made === "bytes";
        const raw = { envelope: { from: SENDER, to }, raw: message };
        return overRoutes(job, true, async (mailer) => {
            const lane = async (_, first) => {
                for (let number = first; number < job.count; number += job.connections) {
                    await mailer.sendMail(bytes ? raw : letter(number, job.size));
                }
            };
            await Promise.all(Array.from({ length: job.connections }, lane));
        });
    },
    attachment(job) {
        const mail = {
            from: SENDER,
            to: "bob@example.test",
            subject: "A file",
            text: "It is attached.",
            attachments: [{ path: job.file }],
        };
        return overRoutes(job, false, (mailer) => mailer.sendMail(mail));
    },
};

function peak() {
    try {
        const status = fs.readFileSync("/proc/self/status", "ascii");
        return Number(/^VmHWM:\s+(\d+)/m.exec(status)[1]) * 1024;
    } catch {
        return null;
    }
}

async function main() {
    console.log("ready");
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const job = JSON.parse(line);
        const message = job.work === "attachment" ? null : content(job.size);
        const to = recipients(job.recipients);
        const idle = peak();
        const cpu = process.cpuUsage();
        const began = process.hrtime.bigint();
        let result;
        try {
            await WORK[job.work](job, message, to);
            result = { seconds: Number(process.hrtime.bigint() - began) / 1e9 };
            const { user, system } = process.cpuUsage(cpu);
            result.cpu = (user + system) / 1e6;
            if (idle !== null) {
                result.memory = peak() - idle;
            }
        } catch (error) {
            result = { error: String(error) };
        }
        console.log(JSON.stringify(result));
    }
    process.exit(0);
}

main();
