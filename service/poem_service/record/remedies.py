"""Why the model does not answer, or what is not well though it does → what that means and what to do about it.

For the person at the stand.
"""

from poem_service.errors import Reason

AGAIN = "サービスを起動し直してください（持ち出し版なら stop のあと start）。"

REMEDIES: dict[Reason, tuple[str, str]] = {
    Reason.STARTING: ("サービスがモデルを探しています", "一分ほど待ってから、もう一度調べてください。"),
    Reason.NO_ENGINE: (
        "モデルを動かすものがありません",
        "Ollama なら POEM_ENGINE=ollama に、組み込みなら mansion-poem[embedded] を入れて POEM_GGUF を決めてください。"
        "AVX2 のない CPU では、組み込みは動きません。Ollama の持ち出し版を使ってください。",
    ),
    Reason.UNREACHABLE: (
        "モデルを動かす相手につながりません",
        f"Ollama が動いているか、OLLAMA_HOST（POEM_ENGINE=openai なら POEM_OPENAI_URL）が正しいかを確かめ、{AGAIN}",
    ),
    Reason.MODEL_MISSING: (
        "モデルが見つからないか、壊れています",
        "POEM_MODEL（組み込みなら POEM_GGUF）を確かめてください。合っていれば、モデルを入れ直してください。",
    ),
    Reason.LOADING: (
        "モデルを読み込んでいます",
        "数分待ってから、もう一度調べてください。終わらないときは、ほかのプログラムを閉じてメモリを空けてください。",
    ),
    Reason.TRIAL: ("モデルを試しています", "一分ほど待ってから、もう一度調べてください。"),
    Reason.EVICTED: (
        "ほかのプログラムが、モデルをメモリから追い出しています",
        "同じ Ollama を使うほかのプログラムを止めるか、OLLAMA_MAX_LOADED_MODELS を大きくしてください。",
    ),
    Reason.TOO_SLOW: (
        "この計算機では、モデルが時間内に書き終わりません",
        "ほかのプログラムを閉じるか、GPU か小さいモデルを使うか、POEM_DEADLINE_S を 85 まで延ばしてください。",
    ),
    Reason.BREAKER_OPEN: (
        "失敗が続いたので、モデルを休ませています",
        f"一分ほど待ってから、もう一度調べてください。続くときは、{AGAIN}",
    ),
    Reason.QUALITY: (
        "モデルの詩が決まりを守らないことが続いたので、モデルを休ませています",
        "別のモデルにするか、モデルを作り直し、poem-build eval で出来を確かめてください。",
    ),
    Reason.BELOW_COMPOSER: (
        "このモデルは、組み立てた詩に及ばないと判定されています",
        "このままで構いません。モデルに書かせるときは POEM_WRITER=model にしてください。",
    ),
    Reason.PREPARED: ("前もって書かれた詩があります", "このままで構いません。"),
    Reason.STOPPING: ("サービスが止まるところです", "起動し終えてから、もう一度調べてください。"),
    Reason.BUSY: ("ほかの人の詩を書いています", "手が空いてから、もう一度調べてください。"),
    Reason.RATE_LIMITED: (
        "一分あたりの回数を超えました",
        "一分ほど待つか、POEM_RATE_LIMIT を大きくしてください。",
    ),
    Reason.UPSTREAM_ERROR: (
        "モデルがエラーを返しました",
        f"{AGAIN}続くときは、Ollama など、モデルを動かす相手のログを見てください。",
    ),
    Reason.TIMEOUT: (
        "モデルの返事が途中で止まりました",
        f"ほかのプログラムを閉じてください。続くときは、{AGAIN}",
    ),
    Reason.LOST: ("モデルとの接続が切れました", f"続くときは、{AGAIN}"),
    Reason.INCOMPLETE: ("モデルが最後まで書きませんでした", "続くときは、モデルを作り直してください。"),
    Reason.MALFORMED: ("モデルの返事が詩の形をしていません", "続くときは、モデルを作り直してください。"),
    Reason.RULES: (
        "モデルの詩が決まりを守っていませんでした",
        "続くときは、モデルの出来を poem-build eval で確かめてください。",
    ),
}

NOTICES: dict[str, tuple[str, str]] = {
    "prompt_differs": (
        "モデルは別の版のプロンプトで学んでいます",
        "モデルとサービスを同じ版のものにそろえてください。",
    ),
    "game_differs": ("モデルは別のゲームの札で学んでいます", "このゲームでモデルを作り直してください。"),
    "gpu_lost": (
        "GPU を使う設定ですが、モデルは CPU で動いています",
        "GPU のドライバーを確かめて、起動し直してください。CPU のままでも遊べますが、遅くなります。",
    ),
    "queues_inside": (
        "モデルを動かす相手が、頼まれた数だけ同時には書いていません",
        "POEM_MAX_ACTIVE を小さくするか、Ollama の OLLAMA_NUM_PARALLEL を同じ数にしてください。",
    ),
}
"""By what `/ready` tells."""

LOG_FAILING = (
    "記録の置き場所が、詩を受け取っていません",
    "POEM_LOG_DB の値（場所、名前、パスワード）が正しいか、データベースが動いているか、"
    "ほかのプログラムがファイルをつかんでいないかを確かめてください。理由はサービスのログにあります。",
)
