// Reads messages from stdin, one a line in base64, by nodemailer's mailparser; writes one
// line of JSON for each: what the headers of the message mean.
"use strict";
const readline = require("readline");
const { simpleParser } = require("mailparser");

async function main() {
    const lines = readline.createInterface({ input: process.stdin });
    for await (const line of lines) {
        const mail = await simpleParser(Buffer.from(line, "base64"), { skipHtmlToText: true });
        const from = mail.from ? mail.from.value : [];
        console.log(
            JSON.stringify({
                subject: mail.subject === undefined ? "" : mail.subject,
                names: from.map((one) => one.name),
                addresses: from.map((one) => one.address),
                files: mail.attachments.map((one) => one.filename),
            }),
        );
    }
}

main();
