// An authorization server on a port of its own: refresh tokens rotate, a second use of one revokes the grant. It prints a
// line of JSON when it listens and for each grant.
import Provider from 'oidc-provider';
import { createServer } from 'node:http';

const say = (event) => console.log(JSON.stringify(event));
const server = createServer();
server.listen(0, '127.0.0.1', () => {
	const issuer = `http://127.0.0.1:${server.address().port}`;
	const client = (id, method, grants) => ({
		client_id: id,
		client_secret: 'a+secret/of:the=app',
		token_endpoint_auth_method: method,
		grant_types: grants,
		redirect_uris: grants.includes('authorization_code') ? ['http://127.0.0.1:1/callback'] : [],
		response_types: grants.includes('authorization_code') ? ['code'] : [],
	});
	const provider = new Provider(issuer, {
		clients: [
			client('body', 'client_secret_post', ['authorization_code', 'refresh_token']),
			client('header', 'client_secret_basic', ['authorization_code', 'refresh_token']),
			client('machine', 'client_secret_post', ['client_credentials']),
		],
		cookies: { keys: ['a key for tests'] },
		pkce: { required: () => true, methods: ['S256'] },
		rotateRefreshToken: true,
		features: { clientCredentials: { enabled: true }, revocation: { enabled: true }, introspection: { enabled: true } },
		ttl: { AccessToken: 2, ClientCredentials: 2, RefreshToken: 3600, Grant: 3600, Session: 3600, Interaction: 600, AuthorizationCode: 60 },
		findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
	});
	provider.on('grant.success', (ctx) => say({ event: 'granted', grant: ctx.oidc.params.grant_type }));
	provider.on('grant.error', (ctx, err) => say({ event: 'refused', grant: ctx.oidc.params?.grant_type, error: err.error, detail: err.error_detail }));
	provider.on('grant.revoked', () => say({ event: 'revoked' }));
	server.on('request', provider.callback());
	say({ event: 'listening', issuer });
});
