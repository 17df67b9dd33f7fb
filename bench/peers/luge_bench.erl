%% The Erlang side of the comparisons. Reads a number of operations a line, does them, and answers
%% with a line of JSON (see program.ts). Callers and servers live as long as the node.
-module(luge_bench).
-behaviour(gen_server).
-export([start/1, servers/1, init/1, handle_call/3, handle_cast/2]).

-define(TIMED_EVERY, 16).

%% The node ends with its work: also when a process fails, or the other node is gone.
start(Words) ->
    {_, Monitor} = spawn_monitor(fun() -> main(Words) end),
    receive
        {'DOWN', Monitor, _, _, Reason} ->
            io:format(standard_error, "~p~n", [Reason]),
            halt(1)
    end.

main(["idle"]) -> serve(fun(_) -> erlang:error(takes_no_orders) end);
main(["calls", Shape, Outstanding, Actors]) ->
    calls(Shape, list_to_integer(Outstanding), servers(list_to_integer(Actors)));
main(["distribution", Shape, Outstanding, Actors, Server]) ->
    Node = list_to_atom(Server),
    true = net_kernel:connect_node(Node),
    Servers = erpc:call(Node, ?MODULE, servers, [list_to_integer(Actors)]),
    calls(Shape, list_to_integer(Outstanding), Servers);
main(["ping_pong", Shape]) -> ping_pong(Shape);
main(["ring", Processes]) -> ring(list_to_integer(Processes));
main(["spawn"]) -> spawned().

%% ---- orders

serve(Work) ->
    io:format("ready~n"),
    serve_next(Work).

serve_next(Work) ->
    case io:get_line("") of
        eof -> halt();
        Line ->
            Operations = list_to_integer(string:trim(Line)),
            {Done, Wall, Samples, Bytes} = Work(Operations),
            Sorted = lists:sort(Samples),
            io:format("{\"operations\":~b,\"wall_ns\":~b,\"p50_ns\":~s,\"p99_ns\":~s,\"bytes\":~s}~n",
                      [Done, Wall, at(Sorted, 0.5), at(Sorted, 0.99), Bytes]),
            serve_next(Work)
    end.

at([], _) -> "null";
at(Sorted, Share) ->
    integer_to_list(lists:nth(1 + trunc(length(Sorted) * Share), Sorted)).

now_ns() -> erlang:monotonic_time(nanosecond).

%% ---- gen_server:call, on this node or on another

servers(Count) ->
    list_to_tuple([begin {ok, Pid} = gen_server:start(?MODULE, [], []), Pid end
                   || _ <- lists:seq(1, Count)]).

init([]) -> {ok, 0}.
handle_call(Message, _From, Asked) -> {reply, Message, Asked + 1}.
handle_cast(_, Asked) -> {noreply, Asked}.

calls(Shape, Outstanding, Servers) ->
    Callers = [spawn_link(fun() -> caller(message(Shape, N), N, Outstanding, Servers) end)
               || N <- lists:seq(0, Outstanding - 1)],
    serve(fun(Operations) -> share(Callers, max(1, Operations div Outstanding)) end).

%% Every worker does its quota; gives back {operations, wall, samples, bytes}.
share(Workers, Quota) ->
    Self = self(),
    Began = now_ns(),
    [Worker ! {go, Self, Quota} || Worker <- Workers],
    Samples = [receive {done, Worker, Some} -> Some end || Worker <- Workers],
    {Quota * length(Workers), now_ns() - Began, lists:append(Samples), "null"}.

caller(Message, N, Outstanding, Servers) ->
    receive
        {go, From, Quota} ->
            Samples = ask(Quota, Message, N, {Outstanding, Servers}, []),
            From ! {done, self(), Samples},
            caller(Message, N, Outstanding, Servers)
    end.

ask(0, _, _, _, Samples) -> Samples;
ask(Left, Message, N, {Outstanding, Servers} = To, Samples) ->
    Server = element(1 + N rem tuple_size(Servers), Servers),
    Distinct = Message#{attempt := Left},
    %% Not all at the same time, and some also where each does only a few.
    More = case (Left + N) rem ?TIMED_EVERY of
               0 ->
                   Began = now_ns(),
                   #{attempt := Left} = gen_server:call(Server, Distinct, infinity),
                   [now_ns() - Began | Samples];
               _ ->
                   #{attempt := Left} = gen_server:call(Server, Distinct, infinity),
                   Samples
           end,
    ask(Left - 1, Message, N + Outstanding, To, More).

%% ---- plain sending and receiving, each process bound to a scheduler of its own

ping_pong(Shape) ->
    Echo = spawn_opt(fun echo/0, [link, {scheduler, 2}]),
    Asker = spawn_opt(fun() -> asker(Echo, message(Shape, 0)) end, [link, {scheduler, 1}]),
    serve(fun(Operations) -> share([Asker], Operations) end).

echo() ->
    receive {From, Message} -> From ! {self(), Message} end,
    echo().

asker(Echo, Message) ->
    receive
        {go, From, Quota} ->
            From ! {done, self(), ping(Quota, Echo, Message, [])},
            asker(Echo, Message)
    end.

ping(0, _, _, Samples) -> Samples;
ping(Left, Echo, Message, Samples) ->
    Began = now_ns(),
    Echo ! {self(), Message#{attempt := Left}},
    receive {Echo, #{attempt := Left}} -> ok end,
    Took = now_ns() - Began,
    More = case Left rem ?TIMED_EVERY of 0 -> [Took | Samples]; _ -> Samples end,
    ping(Left - 1, Echo, Message, More).

%% ---- a ring of processes, as many messages going round as there are processes

ring(Processes) ->
    Self = self(),
    [First | _] = Ring = [spawn_link(fun() -> receive {next, Next} -> member(Next, Self) end end)
                          || _ <- lists:seq(1, Processes)],
    [Member ! {next, Next} || {Member, Next} <- lists:zip(Ring, tl(Ring) ++ [First])],
    serve(fun(Operations) ->
                  Hops = max(1, Operations div Processes),
                  Began = now_ns(),
                  [Member ! Hops || Member <- Ring],
                  [receive arrived -> ok end || _ <- Ring],
                  {Hops * Processes, now_ns() - Began, [], "null"}
          end).

member(Next, Collector) ->
    receive
        1 -> Collector ! arrived;
        Left -> Next ! Left - 1
    end,
    member(Next, Collector).

%% ---- making processes that then wait

spawned() ->
    serve(fun(Operations) ->
                  Before = erlang:memory(processes),
                  Began = now_ns(),
                  Pids = [spawn(fun() -> receive stop -> ok end end)
                          || _ <- lists:seq(1, Operations)],
                  Wall = now_ns() - Began,
                  Bytes = (erlang:memory(processes) - Before) div Operations,
                  Monitors = [monitor(process, Pid) || Pid <- Pids],
                  [Pid ! stop || Pid <- Pids],
                  [receive {'DOWN', Monitor, _, _, _} -> ok end || Monitor <- Monitors],
                  {Operations, Wall, [], integer_to_list(Bytes)}
          end).

%% ---- messages (see messages.ts). They are built when they are needed: literals are never copied.

message("small", N) ->
    #{kind => text(<<"disk.create">>), id => uuid(N), size => 1 bsl 30, name => text(<<"mydisk">>),
      attempt => N};
message("list", N) ->
    #{kind => text(<<"instances">>), attempt => N, rows => [row(N, Index) || Index <- lists:seq(0, 27)]};
message("blob", N) ->
    #{kind => text(<<"read">>), attempt => N, data => binary:copy(<<N>>, 4096)}.

row(N, Index) ->
    Number = integer_to_binary(Index),
    #{id => uuid(N * 28 + Index), name => <<"instance-", Number/binary>>, state => text(<<"running">>),
      ncpus => 1 + Index rem 8, memory => (1 + Index) * 1073741824,
      ip => <<"172.30.0.", Number/binary>>, gen => N + Index}.

text(Literal) -> binary:copy(Literal).

uuid(N) -> iolist_to_binary(io_lib:format("3f2c1e0a-7b6d-4c5e-9f80-~12.16.0b", [N])).
