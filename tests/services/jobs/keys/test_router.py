"""Keys over HTTP."""


def test_a_new_key_works_and_shows_its_secret_once(client, admin):
    made = client.post("/v1/keys", json={"name": "ada", "scope": "viewer"}, headers=admin)
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert len(secret) == 46
    me = client.get("/v1/keys/self", headers={"Authorization": f"Bearer {secret}"})
    assert (me.json()["name"], me.json()["scope"]) == ("ada", "viewer")
    assert secret not in client.get("/v1/keys", headers=admin).text
