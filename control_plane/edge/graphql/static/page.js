// GraphiQL on our own endpoint. What is typed under "Headers" is sent with queries, and as connection_init with
// subscriptions, since a browser cannot set headers of a WebSocket.
"use strict";
(() => {
  const http = location.origin + location.pathname;
  const socket = http.replace(/^http/, "ws");
  let spoken = null; // the connection, and the headers it was begun with

  const clientFor = (headers) => {
    const key = JSON.stringify(headers);
    if (spoken === null || spoken.key !== key) {
      if (spoken !== null) spoken.client.dispose();
      const client = graphqlWs.createClient({ url: socket, connectionParams: headers, retryAttempts: 0 });
      spoken = { key, client };
    }
    return spoken.client;
  };

  // By the words alone: a query that is taken for a subscription is answered over the WebSocket just as well.
  const isSubscription = ({ query, operationName }) => {
    const bare = query.replace(/"""[^]*?"""|"(?:\\.|[^"\\\n])*"|#.*/g, "");
    return new RegExp(`\\bsubscription\\s*${operationName ?? ""}\\b|\\bsubscription\\s*{`).test(bare);
  };

  const saidOf = (reason) => {
    if (Array.isArray(reason)) return { errors: reason };
    return { errors: [{ message: reason?.reason || reason?.message || "the connection was closed" }] };
  };

  // An observable, as GraphiQL takes one.
  const followed = (request, headers) => ({
    subscribe(observer) {
      const stop = clientFor(headers).subscribe(request, {
        next: (result) => observer.next(result),
        error: (reason) => { observer.next(saidOf(reason)); observer.complete(); },
        complete: () => observer.complete(),
      });
      return { unsubscribe: stop };
    },
  });

  const asked = async (request, headers) => {
    const reply = await fetch(http, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
      body: JSON.stringify(request),
    });
    return reply.json();
  };

  const fetcher = (request, options) => {
    const headers = options?.headers ?? {};
    return isSubscription(request) ? followed(request, headers) : asked(request, headers);
  };

  const greeting = [
    "# Your credential goes under \"Headers\", below:",
    "#   {\"Authorization\": \"Bearer <token or API key>\"}",
    "{",
    "  models {",
    "    modelId",
    "    type",
    "    status",
    "  }",
    "}",
    "",
  ].join("\n");

  const page = React.createElement(GraphiQL, { fetcher, defaultQuery: greeting, defaultEditorToolsVisibility: "headers" });
  ReactDOM.createRoot(document.getElementById("graphiql")).render(page);
})();
