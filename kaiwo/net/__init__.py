"""HTTP below the sources: what all of them share.

    client      the HTTP client: requests, redirects, refusals
    answers     an answer, and its body
    encodings   decodes bodies that came encoded
    connections keeps connections open, by urllib3
    heads       the head of an answer
    connecting  connects to the first address of a host that answers
    proxies     the proxies that the environment names, for all clients and SDKs
    certificates  which certificates are trusted, and which one the client shows
    unreachable  names the proxy where that cannot be reached
    failures    maps the connection failures of every SDK to kaiwo errors
    statuses    maps HTTP statuses to kaiwo errors; reads Retry-After
    codes       what the services' error codes say
    header_limits  how many headers an answer may have
    headers     makes headers of tokens and user info
    settings    timeouts and the number of connections of a run
    links       the next page, by the header ``Link``
    stand_ins   how to tell a Git LFS pointer or a page of HTML from a file
    pages       whether an answer may be a page, and whether it is one
    redirects   where a redirect leads, who gets credentials, the origin of an address
    patience    how long a service asked to be left alone
    web_urls    where the path of a web address ends, and how people read it

All modules are for other packages.
"""
