"""HTTP below the sources: what all of them share.

    failures    maps the connection failures of every SDK to kaiwo errors
    statuses    maps HTTP statuses to kaiwo errors; reads Retry-After
    codes       what the services' error codes say
    header_limits  how many headers an answer may have
    headers     checks a token that goes into a header
    settings    timeouts and the number of connections of a run
    links       the next page, by the header ``Link``
    stand_ins   how to tell a Git LFS pointer or a page of HTML from a file
    proxies     the proxies that the environment names, for all clients and SDKs
    certificates  which certificates are trusted, and which one the client shows
    logins      user and password for a host, from ``.netrc``
    redirects   which answers are redirects, how many are followed, the origin of an address
    patience    how long a service asked to be left alone
    web_urls    where the path of a web address ends, and how people read it

All modules are for other packages.
"""
