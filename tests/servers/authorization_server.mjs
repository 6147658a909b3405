// An authorization server by oidc-provider: node authorization_server.mjs SETTINGS.
// It prints its port, and ends when standard input ends.
import { createPrivateKey, createPublicKey, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import https from 'node:https';
import path from 'node:path';

const settings = JSON.parse(readFileSync(process.argv[2]));
const require = createRequire(path.join(settings.prefix, 'package.json'));
const { default: Provider, errors } = await import(require.resolve('oidc-provider'));
const { jwtVerify } = await import(require.resolve('jose'));

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const MAIL = 'urn:mail';
const SCOPE = 'smtp offline_access';

const pem = readFileSync(settings.signing_key);
const signing = { ...createPrivateKey(pem).export({ format: 'jwk' }), kid: 'k1', alg: 'RS256', use: 'sig' };
const assertionKey = createPublicKey(readFileSync(settings.assertion_key));

// What a test changes while the server runs, by /control/set.
const state = { ttl: 3600, skew: 0, failing: 0, rotate: true };

function client(id, grants, extra) {
    return {
        client_id: id, grant_types: grants, response_types: [], redirect_uris: [],
        application_type: 'native', ...extra,
    };
}

const secret = { client_secret: settings.client_secret };
const publicly = { token_endpoint_auth_method: 'none' };
const clients = [
    client('robot', ['client_credentials'], { ...secret, token_endpoint_auth_method: 'client_secret_post' }),
    client('robot-basic', ['client_credentials'], { ...secret, token_endpoint_auth_method: 'client_secret_basic' }),
    client('person', [DEVICE, 'refresh_token'], publicly),
    client('desktop', ['authorization_code', 'refresh_token'], {
        ...publicly, response_types: ['code'], redirect_uris: ['http://127.0.0.1/'],
    }),
    client('service', [JWT_BEARER], { ...secret, token_endpoint_auth_method: 'client_secret_basic' }),
];

const server = https.createServer({
    cert: readFileSync(settings.cert), key: readFileSync(settings.key),
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `https://localhost:${server.address().port}`;

const provider = new Provider(issuer, {
    clients,
    jwks: { keys: [signing] },
    scopes: ['openid', 'offline_access', 'smtp'],
    features: {
        clientCredentials: { enabled: true },
        deviceFlow: { enabled: true },
        devInteractions: { enabled: false },
        revocation: { enabled: true },
        resourceIndicators: {
            enabled: true,
            defaultResource: () => MAIL,
            useGrantedResource: () => true,
            getResourceServerInfo: () => ({
                scope: SCOPE, audience: MAIL, accessTokenTTL: state.ttl,
                accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
            }),
        },
    },
    ttl: {
        AccessToken: () => state.ttl, ClientCredentials: () => state.ttl,
        DeviceCode: 600, Grant: 86400, RefreshToken: 86400, Session: 86400, Interaction: 600,
    },
    rotateRefreshToken: () => state.rotate,
    issueRefreshToken: () => true,
    expiresWithSession: () => false,
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    // Dovecot finds the user by the claim `email`.
    extraTokenClaims: (ctx, token) => ({ email: token.accountId ?? settings.user }),
    formats: {
        customizers: {
            jwt(ctx, token, parts) {
                // Dovecot 2.3 knows no typ but JWT.
                parts.header = { ...parts.header, typ: 'JWT' };
                for (const name of ['iat', 'exp']) parts.payload[name] += state.skew;
                return parts;
            },
        },
    },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    renderError: (ctx, out) => { ctx.body = out; },
});

async function grantFor(accountId, clientId) {
    const grant = new provider.Grant({ accountId, clientId });
    grant.addOIDCScope('openid offline_access');
    grant.addResourceScope(MAIL, SCOPE);
    return grant.save();
}

// RFC 7523 section 2.1, as Google has it: the assertion names the scope and the user.
async function assertionHandler(ctx) {
    let claims;
    try {
        const checks = { issuer: settings.service_account, audience: `${issuer}/service/token`, maxTokenAge: 3600 };
        claims = (await jwtVerify(ctx.oidc.params.assertion, assertionKey, checks)).payload;
    } catch (error) {
        throw new errors.CustomOIDCProviderError('invalid_grant', `Invalid JWT: ${error.message}`);
    }
    if (claims.scope !== 'smtp') throw new errors.InvalidScope('the scope is not delegated', claims.scope);
    const info = { scope: SCOPE, audience: MAIL, accessTokenTTL: state.ttl, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
    const token = new provider.AccessToken({
        accountId: claims.sub, client: ctx.oidc.client, gty: JWT_BEARER, scope: 'smtp',
        grantId: await grantFor(claims.sub, ctx.oidc.client.clientId),
    });
    token.resourceServer = new provider.ResourceServer(MAIL, info);
    ctx.body = { access_token: await token.save(), expires_in: token.expiration, token_type: 'Bearer' };
}
provider.registerGrantType(JWT_BEARER, assertionHandler, ['assertion']);

const CONTROLS = {
    set: (query) => {
        for (const [name, value] of query) state[name] = JSON.parse(value);
        return state;
    },
    // What the page for the code does once the user has logged in and consented.
    approve: async (query) => {
        const code = await provider.DeviceCode.findByUserCode(query.get('user_code').replace(/[^A-Z0-9]/gi, ''));
        const account = query.get('account');
        if (!account) {
            Object.assign(code, { error: 'access_denied', errorDescription: 'the user said no' });
        } else {
            const grantId = await grantFor(account, code.clientId);
            Object.assign(code, {
                accountId: account, grantId, scope: SCOPE, resource: MAIL,
                authTime: Math.floor(Date.now() / 1000), sessionUid: randomUUID(),
            });
        }
        await code.save();
        return {};
    },
};

async function interact(request, response) {
    const { prompt, params } = await provider.interactionDetails(request, response);
    const result = prompt.name === 'login'
        ? { login: { accountId: settings.user } }
        : { consent: { grantId: await grantFor(settings.user, params.client_id) } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

const requests = [];
const answer = provider.callback();
server.on('request', async (request, response) => {
    const url = new URL(request.url, issuer);
    try {
        if (url.pathname.startsWith('/interaction/')) return await interact(request, response);
        if (url.pathname === '/token') requests.push(url.pathname);
        const control = url.pathname.match(/^\/control\/(\w+)$/)?.[1];
        if (control === 'count') return response.end(JSON.stringify(requests.length));
        if (control) return response.end(JSON.stringify(await CONTROLS[control](url.searchParams)));
        if (url.pathname === '/token' && state.failing) {
            response.statusCode = state.failing;
            return response.end('<html>out of order');
        }
        // At Google, the assertion alone names the client.
        if (url.pathname === '/service/token') {
            const pair = Buffer.from(`service:${encodeURIComponent(settings.client_secret)}`).toString('base64');
            request.headers.authorization = `Basic ${pair}`;
            request.url = '/token';
        }
        return answer(request, response);
    } catch (error) {
        console.error(error);
        response.statusCode = 500;
        return response.end(String(error));
    }
});
provider.on('server_error', (ctx, error) => console.error(error));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
console.log(server.address().port);
